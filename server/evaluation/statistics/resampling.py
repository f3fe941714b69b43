"""Means of samples drawn again from a sample, and the interval that they give."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from trimtab.server.evaluation.statistics.interval import Vector, both_tails

FEW = 16
"""Distinct values up to which how often each is drawn is drawn, instead of every place."""
BLOCK = 2_000_000
"""Drawn places that are held at once."""


@dataclass(frozen=True, slots=True)
class Units:
    """What is drawn as a whole: values, or clusters of values that belong together."""

    sums: Vector
    """Of the values of each unit, (k,)."""
    sizes: Vector
    """How many values each holds, (k,)."""

    @property
    def mean(self) -> float:
        """Of all values."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def without_each(self) -> Vector:
        """The mean without unit i, (k,)."""
        return np.asarray((self.sums.sum() - self.sums) / (self.sizes.sum() - self.sizes), dtype=np.float64)


def units_of(values: Vector, clusters: Sequence[Hashable] | None) -> Units:
    """The units of values. clusters: what each value belongs to; None = each stands alone. Raises ValueError: other lengths."""
    if clusters is None:
        return Units(values, np.ones(len(values)))
    if len(clusters) != len(values):
        raise ValueError(f"clusters holds {len(clusters)} names for {len(values)} values")
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(name, len(places)) for name in clusters])
    return Units(
        np.asarray(np.bincount(index, weights=values), dtype=np.float64), np.asarray(np.bincount(index), dtype=np.float64)
    )


def resampled_means(units: Units, draws: int, seed: int) -> Vector:
    """Means of `draws` samples of as many units, drawn with replacement, (draws,)."""
    if draws < 1:
        raise ValueError(f"draws is {draws}; at least 1 needed, 10000 is usual")
    rng = np.random.default_rng(seed)
    if np.all(units.sizes == 1):
        distinct, counts = np.unique(units.sums, return_counts=True)
        if len(distinct) <= FEW:
            count = len(units.sums)
            return np.asarray(rng.multinomial(count, counts / count, size=draws) @ distinct / count, dtype=np.float64)
    return np.concatenate(list(_by_place(units, draws, rng)))


def _by_place(units: Units, draws: int, rng: np.random.Generator) -> Iterator[Vector]:
    count = len(units.sums)
    alone = bool(np.all(units.sizes == 1))
    for rows in blocks(draws, count):
        places = rng.integers(0, count, size=(rows, count))
        yield units.sums[places].sum(axis=1) / (count if alone else units.sizes[places].sum(axis=1))


def blocks(draws: int, width: int) -> Iterator[int]:
    """How many rows of `width` to hold at once, until there were `draws`."""
    most = max(1, BLOCK // max(width, 1))
    for begin in range(0, draws, most):
        yield min(most, draws - begin)


def bca(units: Units, means: Vector, level: float) -> tuple[float, float]:
    """The bias-corrected and accelerated interval of a mean, from its resampled means.

    Values that are all equal give an interval of no width.
    Source: Efron 1987, "Better bootstrap confidence intervals", JASA 82; draws equal to the estimate count half as below it.
    """
    z, normal, estimate = both_tails(level), NormalDist(), units.mean
    distances = units.without_each.mean() - units.without_each
    spread = float(np.sum(distances**2))
    near = 1e-12 * max(1.0, float(np.abs(units.sums).max()))
    if spread <= near**2:
        return estimate, estimate
    below = float(np.mean(means < estimate - near) + np.mean(np.abs(means - estimate) <= near) / 2)
    bias = normal.inv_cdf(min(max(below, 0.5 / len(means)), 1 - 0.5 / len(means)))
    acceleration = float(np.sum(distances**3)) / (6 * spread**1.5)
    shares = [normal.cdf(bias + (bias + t) / (1 - acceleration * (bias + t))) for t in (-z, z)]
    low, high = np.quantile(means, shares)
    return float(low), float(high)
