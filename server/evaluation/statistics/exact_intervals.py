"""Intervals that need no drawing: of a rate, and of a quantile such as the median or the 95th percentile of latencies."""

import math

import numpy as np

from trimtab.server.evaluation.statistics.interval import Interval, Values, Vector, both_tails, vector


def proportion_interval(values: Values, *, level: float = 0.95) -> Interval:
    """The share of ones among zeros and ones, with Wilson's interval, which keeps its width at 0 and at 1.

    Raises ValueError: no values, anything but 0 and 1.
    Source: Wilson 1927, "Probable inference", JASA 22.
    """
    found, z = vector("values", values), both_tails(level)
    if not np.isin(found, (0.0, 1.0)).all():
        raise ValueError(f"values holds {found[~np.isin(found, (0.0, 1.0))][0]}; a proportion is of zeros and ones")
    n, share = len(found), float(found.mean())
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), n, level)


def quantile_interval(values: Values, q: float, *, level: float = 0.95) -> Interval:
    """The q-quantile (between the two nearest values, linearly) with an interval whose ends are values of the sample.

    The interval holds the true quantile at least as often as `level` says, whatever the distribution. Where too few values lie
    beyond it, there is no bound on that side: the 95th percentile has an upper bound from 72 values on (at 0.95).
    Raises ValueError: no values, NaN, q outside (0, 1).
    Source: David and Nagaraja 2003, "Order Statistics", section 7.1.
    """
    ordered = np.sort(vector("values", values))
    both_tails(level)
    if not 0 < q < 1:
        raise ValueError(f"q is {q}; it must lie between 0 and 1, e.g. 0.95")
    n, tail = len(ordered), (1 - level) / 2 * (1 + 1e-9)
    at_most = np.cumsum(_binomial(n, q))  # P(values below the quantile <= k)
    lower = int(np.searchsorted(at_most, tail, side="right"))  # the largest rank r with P(fewer than r below) <= tail
    upper = int(np.searchsorted(at_most, 1 - tail, side="left"))  # the smallest with P(more than upper below) <= tail
    low = float(ordered[lower - 1]) if lower >= 1 else None
    high = float(ordered[upper]) if upper < n else None
    return Interval(float(np.quantile(ordered, q)), low, high, n, level)


def _binomial(n: int, q: float) -> Vector:
    """P(k of n), (n + 1,)."""
    k = np.arange(n + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    ways = factorials[n] - factorials[k] - factorials[n - k]
    return np.asarray(np.exp(ways + k * math.log(q) + (n - k) * math.log1p(-q)), dtype=np.float64)
