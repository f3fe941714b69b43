"""A scorer under an alignment, as numbers: what was scored, the mean, the difference from the first alignment, wins.

Every number has its count beside it, and what has no score is counted, never put in as a zero.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import ScorerRecord
from trimtab.server.evaluation.statistics.bootstrap import mean_interval, paired_difference
from trimtab.server.evaluation.statistics.exact_intervals import proportion_interval
from trimtab.server.evaluation.statistics.interval import Interval
from trimtab.server.evaluation.statistics.length_control import LengthControlled, length_controlled_win_rate

TIE = 0.5
"""The value of an answer that is as good as the first alignment's, for scorers that compare with it."""
LEAST_FOR_LENGTHS = 20
"""Verdicts below which no win rate is corrected for lengths: the fit would be noise."""
Verdict = Literal["better", "worse", "differs", "none"]
"""`differs`: significantly, where neither side is better. `none`: no difference is shown."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the samples: scored + unscored + errored + missing are all of them."""

    scored: int
    unscored: int
    """Answers that the scorer has no number for."""
    errored: int
    """The answer failed."""
    missing: int
    """Not answered or not scored yet: the run was cut short."""
    truncated: int
    """Of the answers, those cut by a token limit; they are scored like the others."""
    reasons: Mapping[str, int]
    """Why answers are unscored, with the number of each; most frequent first."""


@dataclass(frozen=True, slots=True)
class Change:
    """The difference from the first alignment over the samples scored under both."""

    estimate: float
    low: float | None
    high: float | None
    p: float
    """Two-sided, of this comparison alone."""
    adjusted_p: float
    """Holm's, over all comparisons of the report."""
    n: int
    verdict: Verdict
    """By the adjusted p alone."""


@dataclass(frozen=True, slots=True)
class Wins:
    """Verdicts of a scorer that compares each answer with the first alignment's."""

    won: int
    tied: int
    lost: int
    length_controlled: LengthControlled | None
    """The win rate had both answers the same length; None with too few verdicts to say."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A scorer under an alignment."""

    scorer: str
    alignment: str
    counts: Counts
    mean: Interval | None
    """None without scores. A win rate where the scorer compares."""
    change: Change | None
    """None for the first alignment and with fewer than two pairs."""
    wins: Wins | None
    """Only of a scorer that compares."""
    numbers: Mapping[str, float]
    """What the scorer itself says of all its verdicts, e.g. a judge's position bias."""


def measure(log: Log, scorer: ScorerRecord, alignment: str, *, level: float, seed: int) -> Measure:
    """The numbers of a scorer under an alignment; the p-value is not adjusted yet."""
    is_own_baseline = scorer.compares and alignment == log.header.alignments[0].name
    values = {} if is_own_baseline else scored(log, scorer.name, alignment)
    mean = mean_of(list(values.values()), level=level, seed=seed) if values else None
    change = _change(log, scorer, alignment, level=level, seed=seed)
    if change is not None and mean is not None and scorer.compares:
        change = _above_a_tie(change, mean)
    return Measure(
        scorer.name,
        alignment,
        _counts(log, scorer, alignment),
        mean,
        change,
        _wins(log, alignment, values, level=level, seed=seed) if scorer.compares and values else None,
        {name: value for name, value in scorer.summary.get(alignment, {}).items() if math.isfinite(value)},
    )


def scored(log: Log, scorer: str, alignment: str) -> dict[str, float]:
    """The values that are there, by sample, in the order of the data."""
    found = ((sample, log.scores.get((scorer, alignment, sample))) for sample in log.samples)
    return {
        sample: score.value
        for sample, score in found
        if score is not None and score.value is not None and math.isfinite(score.value)
    }


def mean_of(values: Sequence[float], *, level: float, draws: int = 10_000, seed: int) -> Interval:
    """The mean with its interval: bootstrap, or Wilson's where all values are zeros and ones. At least one value."""
    if all(value in (0.0, 1.0) for value in values):
        return proportion_interval(values, level=level)
    return mean_interval(values, level=level, draws=draws, seed=seed)


def pairs(log: Log, scorer: ScorerRecord, alignment: str) -> dict[str, tuple[float, float]]:
    """By sample, the value under the alignment and what it is held against; none for the first alignment itself."""
    first = log.header.alignments[0].name
    if alignment == first:
        return {}
    values = scored(log, scorer.name, alignment)
    if scorer.compares:
        return {sample: (value, TIE) for sample, value in values.items()}
    against = scored(log, scorer.name, first)
    return {sample: (value, against[sample]) for sample, value in values.items() if sample in against}


def verdict(estimate: float, adjusted_p: float, better: str, level: float) -> Verdict:
    """What a difference says where its p-value, adjusted for all comparisons, is this."""
    if adjusted_p >= 1 - level:
        return "none"
    if better == "neither":
        return "differs"
    return "better" if (estimate > 0) == (better == "higher") else "worse"


def _change(log: Log, scorer: ScorerRecord, alignment: str, *, level: float, seed: int) -> Change | None:
    both = list(pairs(log, scorer, alignment).values())
    if len(both) < 2:
        return None
    found = paired_difference([one for one, _ in both], [other for _, other in both], level=level, seed=seed)
    judged = verdict(found.estimate, found.p, scorer.better, level)
    return Change(found.estimate, found.low, found.high, found.p, found.p, found.n, judged)


def _above_a_tie(change: Change, win_rate: Interval) -> Change:
    """The difference from one half with the win rate's own interval: one of wins alone keeps its width."""
    low, high = (None if bound is None else bound - TIE for bound in (win_rate.low, win_rate.high))
    return replace(change, low=low, high=high)


def _counts(log: Log, scorer: ScorerRecord, alignment: str) -> Counts:
    became: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for sample in log.samples:
        state, reason = _state(log, scorer, alignment, sample)
        became[state] += 1
        reasons.update([reason] if reason else [])
    cut = sum(one.finish_reason == "length" for key, one in log.generations.items() if key[0] == alignment)
    return Counts(became["scored"], became["unscored"], became["errored"], became["missing"], cut, dict(reasons.most_common()))


def _state(log: Log, scorer: ScorerRecord, alignment: str, sample: str) -> tuple[str, str | None]:
    """What became of a sample, and why where it is unscored."""
    generation, score = log.generations.get((alignment, sample)), log.scores.get((scorer.name, alignment, sample))
    if generation is not None and generation.error is not None:
        return "errored", None
    if score is None:
        return "missing", None
    if score.value is None or not math.isfinite(score.value):
        return "unscored", score.unscored or "no reason given"
    return "scored", None


def _wins(log: Log, alignment: str, values: Mapping[str, float], *, level: float, seed: int) -> Wins:
    verdicts = list(values.values())
    lengths = (_lengths(log, alignment, values), _lengths(log, log.header.alignments[0].name, values))
    enough = len(verdicts) >= LEAST_FOR_LENGTHS
    return Wins(
        sum(value > TIE for value in verdicts),
        sum(value == TIE for value in verdicts),
        sum(value < TIE for value in verdicts),
        length_controlled_win_rate(verdicts, *lengths, level=level, seed=seed) if enough else None,
    )


def _lengths(log: Log, alignment: str, samples: Mapping[str, float]) -> list[int]:
    """Characters of each answer; 0 where there is none."""
    found = (log.generations.get((alignment, sample)) for sample in samples)
    return [len(one.answer or "") if one is not None else 0 for one in found]
