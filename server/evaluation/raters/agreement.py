"""What ratings say: how far raters agree, how far each scorer agrees with them, and win rates with the scorers' bias taken out.

A scorer's verdict on a pair is its win, tie or loss where it compares answers; where it claims to say which of two answers
people prefer but scores each by itself, the difference of both scores, whose sign is the verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal

import numpy as np

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.measures import TIE, mean_of, scored
from trimtab.server.evaluation.raters.pairs import comparable, identical
from trimtab.server.evaluation.raters.ratings import HumanRating, by_pair
from trimtab.server.evaluation.records import ScorerRecord
from trimtab.server.evaluation.statistics.agreement import (
    PairwiseAgreement,
    cohen_kappa,
    fleiss_kappa,
    pairwise_agreement,
    spearman,
)
from trimtab.server.evaluation.statistics.interval import Interval
from trimtab.server.evaluation.statistics.prediction_powered import ppi_mean

Rated = Mapping[tuple[str, str], Mapping[str, float]]
"""(Alignment, sample) -> rater -> value."""


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """Raters among each other, over the pairs that all of them rated."""

    raters: tuple[str, ...]
    n: int
    """Pairs that all rated."""
    rate: float | None
    """Share of pairs of ratings of one pair that say the same; None where nothing was rated twice."""
    kappa: float | None
    """Beyond chance; None where it is not defined."""
    kind: Literal["cohen", "fleiss"]


@dataclass(frozen=True, slots=True)
class ScorerAgreement:
    """A scorer beside the raters' mean, over all alignments' pairs that both have a verdict on."""

    scorer: str
    compares: bool
    n: int
    verdicts: PairwiseAgreement | None
    """None without pairs."""
    spearman: Interval | None
    """Of the scorer's number, or difference, with the raters' mean; None where a side is constant or there are too few."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """How often an alignment's answer beats the first one's, three ways. Pairs of the same text are left out of all three."""

    scorer: str
    alignment: str
    judged: Interval
    """By the scorer alone, of all pairs that it judged."""
    human: Interval
    """By people alone, of the pairs that they rated."""
    powered: Interval
    """By people, with the scorer's verdicts on the rest: free of the scorer's bias. `n` counts rated pairs."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """All that ratings say of a log."""

    raters: RaterAgreement
    human: Mapping[str, Interval]
    """Alignment -> win rate by people alone, of the rated pairs."""
    same_text: Mapping[str, int]
    """Alignment -> pairs that are the same text: ties that nobody rates, left out of every rate here."""
    scorers: tuple[ScorerAgreement, ...]
    calibrated: tuple[Calibrated, ...]


def agreement(log: Log, ratings: Sequence[HumanRating], *, level: float = 0.95, seed: int = 0) -> Agreement:
    """What the ratings of a log say. seed: of the bootstrap. Raises ValueError where there are none."""
    if not ratings:
        raise ValueError("there are no ratings")
    rated = by_pair(ratings)
    names = [one.name for one in log.header.alignments[1:]]
    people = {name: _of(rated, name) for name in names}
    verdicts = [(record, _verdicts(log, record, names)) for record in log.scorers.values() if _is_judge(record)]
    return Agreement(
        _raters(rated),
        {name: mean_of(list(values.values()), level=level, seed=seed) for name, values in people.items() if values},
        {name: identical(log, name) for name in names},
        tuple(_scorer(record, people, found, level) for record, found in verdicts),
        tuple(
            one
            for record, found in verdicts
            for name in names
            if (one := _calibrated(record.name, name, people[name], _wins(record, found[name]), level=level, seed=seed))
            is not None
        ),
    )


def _of(rated: Rated, alignment: str) -> dict[str, float]:
    """Sample -> mean of its raters."""
    return {sample: fmean(said.values()) for (name, sample), said in rated.items() if name == alignment}


def _is_judge(record: ScorerRecord) -> bool:
    """Whether it says which of two answers is better."""
    return record.compares or (record.of_preference and not record.of_policy and record.better != "neither")


def _raters(rated: Rated) -> RaterAgreement:
    names = tuple(dict.fromkeys(rater for said in rated.values() for rater in said))
    whole = [[said[name] for name in names] for said in rated.values() if len(said) == len(names)]
    couples = [one == other for said in rated.values() for one, other in combinations(said.values(), 2)]
    kind: Literal["cohen", "fleiss"] = "fleiss" if len(names) > 2 else "cohen"
    kappa = None
    if whole and len(names) > 1:
        first, second, *_ = zip(*whole, strict=True)
        kappa = fleiss_kappa(whole) if kind == "fleiss" else cohen_kappa(first, second)
    return RaterAgreement(names, len(whole), fmean(couples) if couples else None, kappa, kind)


def _verdicts(log: Log, record: ScorerRecord, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Alignment -> sample -> how far its answer is above the first one's: above 0 better, 0 a tie. Pairs that differ alone."""
    against = {} if record.compares else scored(log, record.name, log.header.alignments[0].name)
    sign = -1.0 if record.better == "lower" else 1.0
    found: dict[str, dict[str, float]] = {}
    for name in names:
        values, allowed = scored(log, record.name, name), set(comparable(log, name))
        both = {sample: value for sample, value in values.items() if sample in allowed}
        if record.compares:
            found[name] = {sample: value - TIE for sample, value in both.items()}
        else:
            found[name] = {sample: sign * (value - against[sample]) for sample, value in both.items() if sample in against}
    return found


def _wins(record: ScorerRecord, margins: Mapping[str, float]) -> dict[str, float]:
    """Sample -> 1 won, 0.5 tied, 0 lost; what lies between, a comparing scorer says itself."""
    return {sample: TIE + margin if record.compares else _won(margin) for sample, margin in margins.items()}


def _won(margin: float) -> float:
    return TIE + TIE * float(np.sign(margin))


def _scorer(
    record: ScorerRecord, people: Mapping[str, Mapping[str, float]], found: Mapping[str, Mapping[str, float]], level: float
) -> ScorerAgreement:
    shared = [(value, found[name][one]) for name, said in people.items() for one, value in said.items() if one in found[name]]
    if not shared:
        return ScorerAgreement(record.name, record.compares, 0, None, None)
    human, margins = [value for value, _ in shared], [margin for _, margin in shared]
    verdicts = [_won(margin) for margin in margins]
    ranked = spearman(margins, human, level=level) if len(shared) > 1 else None
    return ScorerAgreement(record.name, record.compares, len(shared), pairwise_agreement(verdicts, human), ranked)


def _calibrated(
    scorer: str, alignment: str, human: Mapping[str, float], judged: Mapping[str, float], *, level: float, seed: int
) -> Calibrated | None:
    """None where nothing was both rated and judged."""
    both = [sample for sample in human if sample in judged]
    if not both:
        return None
    rest = [value for sample, value in judged.items() if sample not in human]
    return Calibrated(
        scorer,
        alignment,
        mean_of(list(judged.values()), level=level, seed=seed),
        mean_of(list(human.values()), level=level, seed=seed),
        ppi_mean([human[sample] for sample in both], [judged[sample] for sample in both], rest, level=level),
    )
