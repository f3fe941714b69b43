"""Means by category, where the samples have any."""

from collections import Counter
from dataclasses import dataclass

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.measures import mean_of, scored
from trimtab.server.evaluation.statistics.interval import Interval

DRAWS = 2_000
"""Resamplings of one interval: there are many, and they are read by eye."""


@dataclass(frozen=True, slots=True)
class CategoryMean:
    """A scorer under an alignment in one category."""

    scorer: str
    alignment: str
    category: str
    mean: Interval


def categories_of(log: Log) -> tuple[str, ...]:
    """The categories, those of most samples first."""
    counted = Counter(sample.category for sample in log.samples.values() if sample.category is not None)
    return tuple(sorted(counted, key=lambda name: (-counted[name], name)))


def category_means(log: Log, *, level: float, seed: int) -> tuple[CategoryMean, ...]:
    """One a scorer, alignment and category that has scores."""
    names = categories_of(log)
    return tuple(
        CategoryMean(scorer, alignment.name, category, mean_of(values, level=level, draws=DRAWS, seed=seed))
        for scorer in log.scorers
        for alignment in log.header.alignments
        for by_name in [_by_category(log, scorer, alignment.name)]
        for category in names
        for values in [by_name.get(category, [])]
        if values
    )


def _by_category(log: Log, scorer: str, alignment: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for sample, value in scored(log, scorer, alignment).items():
        category = log.samples[sample].category
        if category is not None:
            found.setdefault(category, []).append(value)
    return found
