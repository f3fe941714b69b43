"""Intervals of means, and of the mean difference between two alignments on the same samples."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from trimtab.server.evaluation.statistics.interval import Interval, Values, both_tails, pair, vector
from trimtab.server.evaluation.statistics.resampling import Units, bca, resampled_means, units_of
from trimtab.server.evaluation.statistics.sign_flips import Way, sign_flip_p


@dataclass(frozen=True, slots=True)
class Difference:
    """How much the first of two is above the second, on average."""

    estimate: float
    low: float | None
    """None where there is a single sample."""
    high: float | None
    p: float
    """Two-sided, of no difference, by flipping the signs of the differences."""
    n: int
    """Pairs."""
    level: float = 0.95
    way: Way = "exact"
    """Whether `p` goes through all ways to flip signs or draws some."""


def mean_interval(
    values: Values,
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean of values with its bootstrap interval (BCa); no bounds where there is a single value or cluster.

    clusters: what each value belongs to, where samples appear several times; clusters are drawn as a whole.
    Values that are all equal give an interval of no width: right for a fixed cost, too sure for a rate (`proportion_interval`).
    Raises ValueError: no values, NaN.
    """
    found = vector("values", values)
    units = units_of(found, clusters)
    low, high = _bounds(units, level, draws, seed)
    return Interval(units.mean, low, high, len(found), level)


def paired_difference(
    a: Values,
    b: Values,
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Difference:
    """The mean of a - b over the same samples, with its bootstrap interval (BCa) and p-value (sign flips).

    clusters: as for `mean_interval`; signs of a cluster flip together. Equal a and b give [0, 0] and p = 1.
    Raises ValueError: no pairs, lengths that differ, NaN (leave samples out that either has no value for).
    """
    first, second = pair("a", a, "b", b)
    units = units_of(first - second, clusters)
    low, high = _bounds(units, level, draws, seed)
    p, way = sign_flip_p(units.sums, draws=draws, seed=seed)
    return Difference(units.mean, low, high, p, len(first), level, way)


def _bounds(units: Units, level: float, draws: int, seed: int) -> tuple[float | None, float | None]:
    both_tails(level)  # refuses a level that is none before the work
    means = resampled_means(units, draws, seed)
    return bca(units, means, level) if len(units.sums) > 1 else (None, None)
