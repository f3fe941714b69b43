"""Scorers applied to a log: one verdict an answer, the reason where there is none, and how much was dropped.

It knows no scorer by name. What is scored was generated before, so a log can be scored again at any time.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import Alignment, Generation, Score, ScorerRecord
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import Item, Scorer, ScorerError, Summarising, Verdict
from trimtab.strategies.core.errors import EngineUnavailable

logger = logging.getLogger(__name__)

BATCH = 32
"""Answers handed to a scorer at once."""
NOT_FINITE = "not a finite number"
NO_BASELINE = "the first alignment has no answer to compare with"
SHOWN = 3
"""Reasons that a table tells."""

Applies = Callable[[Sample, str | None], bool]
"""Whether a scorer is defined for a sample and its answer; None where there is no answer."""


def everywhere(sample: Sample, answer: str | None) -> bool:
    """Of a scorer that has a number for whatever is said."""
    return True


class Sink(Protocol):
    """Where scores go."""

    def add(self, record: Score | ScorerRecord) -> None:
        """Keep a score, or what a scorer says of all of them."""
        ...


async def score_log(
    log: Log,
    scorers: Sequence[Scorer],
    sink: Sink,
    *,
    fingerprints: Mapping[str, str] | None = None,
    tell: Callable[[int], object] = lambda _: None,
) -> None:
    """Score every answer of a log and keep the verdicts, each scorer's own record after the last of its scores.

    fingerprints: scorer -> hash of its configuration. tell: called with the number of answers that have just been scored.
    A scorer that fails on an answer leaves it unscored with the error. Raises ScorerError where it cannot
    work at all, and EngineUnavailable where its model is gone.
    """
    for scorer in scorers:
        summary: dict[str, dict[str, float]] = {}
        for alignment in log.header.alignments:
            items = items_of(log, alignment)
            verdicts: list[Verdict] = []
            for start in range(0, len(items), BATCH):
                batch = items[start : start + BATCH]
                found = await _verdicts(scorer, batch, log.header.alignments[0].name)
                for item, verdict in zip(batch, found, strict=True):
                    sink.add(_score(scorer, item, verdict))
                verdicts += found
                tell(len(batch))
            if told := _summary(scorer, items, verdicts):
                summary[alignment.name] = told
        sink.add(record_of(scorer, summary, (fingerprints or {}).get(scorer.about.name, "")))


def items_of(log: Log, alignment: Alignment) -> list[Item]:
    """The answers of an alignment, in the order of the samples, each beside the first alignment's."""
    first = log.header.alignments[0].name
    items = []
    for sample in log.samples.values():
        generation = log.generations.get((alignment.name, sample.id))
        if generation is not None and generation.error is None:
            against = log.generations.get((first, sample.id)) if alignment.name != first else None
            items.append(Item(sample, alignment, generation, against if against and against.error is None else None))
    return items


def record_of(scorer: Scorer, summary: Mapping[str, Mapping[str, float]], sha256: str = "") -> ScorerRecord:
    """What is written down of a scorer."""
    about = scorer.about
    return ScorerRecord(
        name=about.name,
        title=about.title,
        better=about.better,
        says=about.says,
        source=about.source,
        compares=about.compares,
        of_preference=about.of_preference,
        of_policy=about.of_policy,
        sha256=sha256,
        summary={name: dict(numbers) for name, numbers in summary.items()},
    )


async def _verdicts(scorer: Scorer, items: Sequence[Item], first: str) -> list[Verdict]:
    """A verdict an item; an answer that cannot be compared is not handed to a scorer that compares.

    first: name of the alignment that the others are compared with.
    """
    comparable = [not scorer.about.compares or item.baseline is not None or item.alignment.name == first for item in items]
    asked = [item for item, can in zip(items, comparable, strict=True) if can]
    found = iter(await _asked(scorer, asked) if asked else [])
    return [_finite(next(found)) if can else Verdict(None, NO_BASELINE) for can in comparable]


async def _asked(scorer: Scorer, items: Sequence[Item]) -> list[Verdict]:
    """The scorer's verdicts. One item's failure costs no other its verdict: a batch that fails is asked one by one."""
    try:
        verdicts = list(await scorer.score(items))
    except (ScorerError, EngineUnavailable):
        raise
    except Exception as error:  # the border of a scorer: one answer that it fails on costs no other its verdict
        if len(items) > 1:
            return [verdict for item in items for verdict in await _asked(scorer, [item])]
        logger.warning("%s failed on %s", scorer.about.name, items[0].sample.id, exc_info=error)
        return [Verdict(None, f"{type(error).__name__}: {error}"[:500])]
    if len(verdicts) != len(items):
        raise ScorerError(f"{scorer.about.name} gave {len(verdicts)} verdicts on {len(items)} answers")
    return verdicts


def _finite(verdict: Verdict) -> Verdict:
    if verdict.value is None:
        return verdict if verdict.unscored else Verdict(None, "no reason given", verdict.details)
    return verdict if math.isfinite(verdict.value) else Verdict(None, NOT_FINITE, verdict.details)


def _score(scorer: Scorer, item: Item, verdict: Verdict) -> Score:
    return Score(
        scorer=scorer.about.name,
        alignment=item.alignment.name,
        sample=item.sample.id,
        value=verdict.value,
        unscored=verdict.unscored if verdict.value is None else None,
        details=dict(verdict.details),
    )


def _summary(scorer: Scorer, items: Sequence[Item], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """What the scorer says of one alignment's verdicts together, where it says anything; finite numbers alone."""
    if not items or not isinstance(scorer, Summarising):
        return {}
    return {name: float(value) for name, value in scorer.summary(items, verdicts).items() if math.isfinite(value)}


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many answers a scorer has no number for, of those that it should have."""

    scorer: str
    expected: int
    """Answers that it applies to."""
    errored: int
    """No answer."""
    unscored: int
    """No number for the answer, or no verdict at all."""
    reasons: tuple[str, ...] = ()
    """The most frequent, with their counts."""

    @property
    def share(self) -> float:
        """Of those expected, in [0, 1]."""
        return (self.errored + self.unscored) / self.expected if self.expected else 0.0


def dropped(log: Log, scorer: str, *, applies: Applies = everywhere, under: Collection[str] | None = None) -> Dropped:
    """What a scorer dropped.

    applies: answers for which it is not defined are not expected. under: alignments it speaks of; default all.
    """
    names = [one.name for one in log.header.alignments if under is None or one.name in under]
    expected, counts, reasons = 0, Counter[str](), Counter[str]()
    for alignment, sample in product(names, log.samples.values()):
        generation = log.generations.get((alignment, sample.id))
        if not applies(sample, generation.answer if generation else None):
            continue
        expected += 1
        if lost := _lost(generation, log.scores.get((scorer, alignment, sample.id))):
            counts[lost[0]] += 1
            reasons[lost[1]] += 1
    told = tuple(f"{reason} ({number})" for reason, number in reasons.most_common(SHOWN))
    return Dropped(scorer, expected, counts["errored"], counts["unscored"], told)


def _lost(generation: Generation | None, score: Score | None) -> tuple[str, str] | None:
    """Whether an answer failed or has no number, and why; None where there is a number."""
    if generation is None or generation.error is not None:
        return "errored", "not answered" if generation is None else generation.error or ""
    if score is None or score.value is None:
        return "unscored", "not scored" if score is None else score.unscored or "no reason given"
    return None
