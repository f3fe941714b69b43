"""A log as numbers: what each scorer says of each alignment, what each alignment took, and which differences are significant.

All that a report shows is here; the pages only set it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.server.evaluation.categories import CategoryMean, categories_of, category_means
from trimtab.server.evaluation.costs import Costs, costs_of
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.measures import Change, Measure, measure, verdict
from trimtab.server.evaluation.records import ScorerRecord
from trimtab.server.evaluation.statistics.corrections import holm


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a log."""

    level: float
    """Of every interval; a difference is significant where its adjusted p is below 1 - level."""
    seed: int
    """Of the resampling."""
    alignments: tuple[str, ...]
    """The first is what the others are compared with."""
    scorers: tuple[str, ...]
    comparisons: int
    """Differences that were tested, for which the p-values are adjusted."""
    measures: tuple[Measure, ...]
    """Scorer by scorer, in it alignment by alignment."""
    costs: tuple[Costs, ...]
    """One an alignment."""
    categories: tuple[str, ...]
    """Those of most samples first; none where the samples have no categories."""
    by_category: tuple[CategoryMean, ...]

    def measure(self, scorer: str, alignment: str) -> Measure:
        """The numbers of a scorer under an alignment. Raises KeyError where one of them is not in the log."""
        for one in self.measures:
            if (one.scorer, one.alignment) == (scorer, alignment):
                return one
        raise KeyError((scorer, alignment))


def summarise(log: Log, *, level: float = 0.95, seed: int = 0) -> Summary:
    """The numbers of a log; the same log, level and seed give the same numbers.

    level: of the intervals, and 1 - level is the error allowed over all comparisons together, between 0 and 1.
    seed: of the resampling.
    """
    alignments = tuple(one.name for one in log.header.alignments)
    measures = [
        measure(log, scorer, alignment, level=level, seed=seed) for scorer in log.scorers.values() for alignment in alignments
    ]
    return Summary(
        level,
        seed,
        alignments,
        tuple(log.scorers),
        sum(one.change is not None for one in measures),
        tuple(_adjusted(log, measures, level)),
        costs_of(log),
        categories_of(log),
        category_means(log, level=level, seed=seed),
    )


def _adjusted(log: Log, measures: Sequence[Measure], level: float) -> list[Measure]:
    """The measures with p-values that hold for all of them together."""
    adjusted = iter(holm([one.change.p for one in measures if one.change is not None]))
    return [
        one if one.change is None else replace(one, change=_judged(one.change, next(adjusted), log.scorers[one.scorer], level))
        for one in measures
    ]


def _judged(change: Change, adjusted_p: float, scorer: ScorerRecord, level: float) -> Change:
    return replace(change, adjusted_p=adjusted_p, verdict=verdict(change.estimate, adjusted_p, scorer.better, level))
