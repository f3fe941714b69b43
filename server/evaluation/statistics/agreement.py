"""How far raters, or a rater and a judge, agree. None = undefined, e.g. where all ratings are the same."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.server.evaluation.statistics.interval import Interval, Values, Vector, both_tails, pair


@dataclass(frozen=True, slots=True)
class PairwiseAgreement:
    """How often two say the same of which answer is better."""

    rate: float
    """Same verdict of all, where a tie agrees with a tie only."""
    decided: float | None
    """Same winner, of the comparisons where both named one; None where there is none."""
    n: int
    n_decided: int


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Agreement of two raters beyond chance, at most 1; 0 = as by chance. None where chance alone agrees always.

    a, b: labels of the same items, in order. Raises ValueError: none, lengths that differ, a missing one (None, NaN).
    Source: Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    labels = sorted(set(_complete("a", a)) | set(_complete("b", b)), key=repr)
    if len(a) != len(b):
        raise ValueError(f"a holds {len(a)} labels and b {len(b)}; they must be of the same items")
    places = {label: place for place, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for one, other in zip(a, b, strict=True):
        table[places[one], places[other]] += 1 / len(a)
    by_chance = float(table.sum(axis=1) @ table.sum(axis=0))
    return (float(np.trace(table)) - by_chance) / (1 - by_chance) if by_chance < 1 else None


def _complete(name: str, labels: Sequence[Hashable]) -> Sequence[Hashable]:
    """The labels. Raises ValueError where there are none or one is missing."""
    if not len(labels):
        raise ValueError(f"{name} holds no labels")
    for place, label in enumerate(labels):
        if label is None or (isinstance(label, float) and math.isnan(label)):
            raise ValueError(f"{name}[{place}] is missing; leave items out that not everybody rated")
    return labels


def fleiss_kappa(ratings: Sequence[Sequence[Hashable]]) -> float | None:
    """Agreement of several raters beyond chance, at most 1. None where all ratings are the same.

    ratings: the labels of each item, as many for each, by whomever. Raises ValueError: no items, one rater, missing ratings.
    Source: Fleiss 1971, "Measuring nominal scale agreement among many raters".
    """
    if not ratings:
        raise ValueError("ratings holds no items")
    raters = len(ratings[0])
    for place, item in enumerate(ratings):
        _complete(f"ratings[{place}]", item)
        if len(item) != raters:
            raise ValueError(f"ratings[{place}] holds {len(item)} ratings and ratings[0] {raters}; each item needs as many")
    if raters < 2:
        raise ValueError("ratings are by one rater; agreement needs two")
    labels = {label: place for place, label in enumerate(dict.fromkeys(label for item in ratings for label in item))}
    counts = np.array([np.bincount([labels[label] for label in item], minlength=len(labels)) for item in ratings])
    observed = float(np.mean((counts**2).sum(axis=1) - raters)) / (raters * (raters - 1))
    expected = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return (observed - expected) / (1 - expected) if len(labels) > 1 else None


def spearman(a: Values, b: Values, *, level: float = 0.95) -> Interval | None:
    """The rank correlation, -1 to 1, ties at their mean rank, with an interval. None where a side is constant.

    There are no bounds below 4 pairs, and none where the ranks are all the same or all opposite, as the method has none there.
    Raises ValueError: fewer than 2 pairs, lengths that differ, NaN.
    Source: Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations".
    """
    first, second = (_ranks(values) for values in pair("a", a, "b", b, least=2))
    if first.std() == 0 or second.std() == 0:
        return None
    n, z = len(first), both_tails(level)
    rho = float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))
    if n < 4 or abs(rho) > 1 - 1e-12:
        return Interval(rho, None, None, n, level)
    half = z * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return Interval(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half), n, level)


def _ranks(values: Vector) -> Vector:
    """From 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def pairwise_agreement(a: Values, b: Values) -> PairwiseAgreement:
    """How often two agree on which answer is better. Verdicts: above 0.5 the first won, 0.5 a tie, below 0.5 the second.

    Raises ValueError: none, lengths that differ, NaN, outside 0 to 1.
    Source: Zheng et al. 2023, arXiv 2306.05685, section 4: `rate` is setup S1, `decided` setup S2.
    """
    first, second = pair("a", a, "b", b)
    outside = [x for x in (*first, *second) if not 0 <= x <= 1]
    if outside:
        raise ValueError(f"{outside[0]} is no verdict; 1 = the first won, 0.5 = a tie, 0 = the second won")
    one, other = np.sign(first - 0.5), np.sign(second - 0.5)
    decided = (one != 0) & (other != 0)
    same = one == other
    return PairwiseAgreement(
        float(same.mean()), float(same[decided].mean()) if decided.any() else None, len(first), int(decided.sum())
    )
