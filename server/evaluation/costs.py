"""What the answers of an alignment took: calls and tokens by role, latency, and how often the first alignment's that is.

It counts answers that are there; one that failed says nothing about what an answer costs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import Generation
from trimtab.server.evaluation.statistics.exact_intervals import quantile_interval
from trimtab.server.evaluation.statistics.interval import Interval


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls of engines and their tokens, summed over answers."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Ratios:
    """How many times what the first alignment took, over the samples that both answered; None where that took none."""

    n: int
    """Samples that both answered."""
    calls: float | None
    tokens: float | None
    """Read and written."""
    completion_tokens: float | None
    p50_ms: float | None


@dataclass(frozen=True, slots=True)
class Costs:
    """What the answers of an alignment took."""

    alignment: str
    answers: int
    total: Spent
    by_role: Mapping[str, Spent]
    p50_ms: Interval | None
    """From request to answer, beside the other requests that ran; None without answers."""
    p95_ms: Interval | None
    ratios: Ratios
    not_applied: Mapping[str, int] = field(default_factory=dict)
    """Of the answers, those under which the alignment was skipped, degraded or failed; they are scored like the others."""


def costs_of(log: Log) -> tuple[Costs, ...]:
    """One an alignment, in the header's order."""
    first = _answered(log, log.header.alignments[0].name)
    return tuple(_costs(one.name, _answered(log, one.name), first) for one in log.header.alignments)


def _costs(alignment: str, answers: Mapping[str, Generation], first: Mapping[str, Generation]) -> Costs:
    ms = [one.cost.ms for one in answers.values()]
    shared = [sample for sample in answers if sample in first]
    return Costs(
        alignment,
        len(answers),
        _total(answers.values()),
        _by_role(answers.values()),
        quantile_interval(ms, 0.5) if ms else None,
        quantile_interval(ms, 0.95) if ms else None,
        _ratios([answers[one] for one in shared], [first[one] for one in shared]),
        dict(Counter(one.status for one in answers.values() if one.status not in (None, "applied"))),
    )


def _answered(log: Log, alignment: str) -> dict[str, Generation]:
    """The answers that are there, by sample."""
    found = ((sample, log.generations.get((alignment, sample))) for sample in log.samples)
    return {sample: one for sample, one in found if one is not None and one.error is None}


def _ratios(these: Sequence[Generation], those: Sequence[Generation]) -> Ratios:
    mine, theirs = _total(these), _total(those)
    return Ratios(
        len(these),
        _ratio(mine.calls, theirs.calls),
        _ratio(mine.tokens, theirs.tokens),
        _ratio(mine.completion_tokens, theirs.completion_tokens),
        _ratio(_quantile([one.cost.ms for one in these], 0.5), _quantile([one.cost.ms for one in those], 0.5)),
    )


def _total(answers: Iterable[Generation]) -> Spent:
    costs = [one.cost for one in answers]
    return Spent(
        sum(one.calls for one in costs), sum(one.prompt_tokens for one in costs), sum(one.completion_tokens for one in costs)
    )


def _by_role(answers: Iterable[Generation]) -> dict[str, Spent]:
    totals: dict[str, Counter[str]] = {}
    for one in answers:
        for role, spent in one.cost.by_role.items():
            totals.setdefault(role, Counter()).update(spent)
    return {role: Spent(spent["calls"], spent["prompt_tokens"], spent["completion_tokens"]) for role, spent in totals.items()}


def _ratio(this: float | None, that: float | None) -> float | None:
    return this / that if this is not None and that else None


def _quantile(values: Sequence[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None
