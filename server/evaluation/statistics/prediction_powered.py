"""A mean of human labels, made sharper by many judgements and never moved by what the judge gets wrong.

human mean + weight * (what the judge says of all the rest - what it says of those that people labelled)
"""

import math

import numpy as np

from trimtab.server.evaluation.statistics.interval import Interval, Values, Vector, both_tails, pair, vector

LEAST = 5
"""Human labels below which there is an estimate without bounds."""


def ppi_mean(human: Values, judged_same: Values, judged_rest: Values, *, level: float = 0.95) -> Interval:
    """The mean human label of all samples, from labels of some and a judge's scores of all. `n` counts the human labels.

    human, judged_same: of the same samples, (n,), drawn at random from all; judged_rest: of the others, (N,), may be empty.
    A judge that says nothing about the labels leaves the interval of the labels alone; a biased one is corrected.
    Raises ValueError: no human label, lengths that differ, NaN.
    Source: Angelopoulos et al. 2023, arXiv 2301.09633, algorithm 1; the weight of arXiv 2311.01453, section 6.
    Deviation: Student's t with n - 1 degrees of freedom in place of the normal, and no bounds below 5 labels: labels are few.
    """
    labels, same = pair("human", human, "judged_same", judged_same)
    rest = vector("judged_rest", judged_rest, least=0)
    both_tails(level)
    weight = judge_weight(labels, same, rest)
    corrected = labels - weight * same
    estimate = float(corrected.mean()) + (weight * float(rest.mean()) if weight else 0.0)
    if len(labels) < LEAST:
        return Interval(estimate, None, None, len(labels), level)
    variance = corrected.var(ddof=1) / len(labels) + (weight**2 * _variance(rest) / len(rest) if weight else 0.0)
    half = _student(level, len(labels) - 1) * math.sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half, len(labels), level)


def judge_weight(human: Values, judged_same: Values, judged_rest: Values) -> float:
    """How much the judge counts, 0 (not at all) to 1: what makes the variance least.

    0 where it says the same of everything, or there are fewer than two labels or two other samples.
    Source: Angelopoulos et al. 2023, arXiv 2311.01453, section 6.
    """
    labels, same = pair("human", human, "judged_same", judged_same)
    rest = vector("judged_rest", judged_rest, least=0)
    spread = _variance(np.concatenate([same, rest]))
    if min(len(labels), len(rest)) < 2 or spread == 0:
        return 0.0
    together = float(np.cov(labels, same)[0, 1])
    return float(np.clip(together / ((1 + len(labels) / len(rest)) * spread), 0.0, 1.0))


def _variance(values: Vector) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _student(level: float, freedom: int) -> float:
    """Both tails of Student's t, to 0.3 % from 4 degrees of freedom on at the usual levels.

    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    z, v = both_tails(level), freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / v ** (power + 1) for power, term in enumerate(terms)))
