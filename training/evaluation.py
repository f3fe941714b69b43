"""Held-out figures with intervals: proportions, accuracies over pairs, means and paired differences.

It sees numbers only: no model, tokenizer, text or file. Intervals are closed forms, so the same numbers give the same interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.training.errors import ConfigInvalid, DataError, Diverged

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure measured on a sample, with the interval it is to be read with."""

    value: float
    """The figure on the sample itself."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    n: int
    """Items that it was measured on."""

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"


def proportion(successes: float, n: int, *, level: float = 0.95) -> Estimate:
    """Share of successes with Wilson's score interval, inside [0, 1] and never of width 0.

    successes: count in [0, n], halves allowed. n: items, at least 1. level: coverage, in (0, 1).
    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22(158).
    """
    if n < 1 or not 0 <= successes <= n:
        raise DataError(
            f"a proportion needs at least one item and successes between 0 and their number, not {successes} of {n}"
        )
    z = _normal_quantile(level)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = centre - reach, centre + reach
    return Estimate(share, max(0.0, min(low, share)), min(1.0, max(high, share)), n)  # rounding may leave the share outside


def outcomes(first: ArrayLike, second: ArrayLike) -> Values:
    """How each pair came out, (n,): 1 where `first` is greater, 0.5 at a tie, 0 where `second` is.

    first, second: scores of the better and the worse item of each pair, (n,), higher is better; all finite.
    """
    better, worse = _both(first, second)
    return np.where(better == worse, 0.5, better > worse)


def accuracy(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Share of pairs in which `first` scores above `second`, ties counted half.

    first, second: scores of the better and the worse item of each pair, (n,); all finite.
    The interval is Wilson's on wins plus half the ties out of n. A half varies less than a coin, so ties make it conservative.
    """
    results = outcomes(first, second)
    return proportion(float(results.sum()), len(results), level=level)


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Mean of the values with Student's t interval; of a single value the interval is the whole line.

    values: (n,), finite, independent. For the change of a score between two models, give the differences item by item.
    """
    sample = _finite(values, "values")
    if len(sample) == 1:
        return Estimate(float(sample[0]), -inf, inf, 1)
    mean = float(sample.mean())
    reach = _student_quantile(level, len(sample) - 1) * float(sample.std(ddof=1)) / sqrt(len(sample))
    return Estimate(mean, mean - reach, mean + reach, len(sample))


def paired_difference(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Mean of a - b over the same items; `a` is better with confidence where the interval lies above 0.

    a, b: outcomes in [0, 1] of two scorers on the same items, (n,), as `outcomes` gives them; the result lies in [-1, 1].
    The interval is the adjusted Wald interval for paired proportions: one imaginary item won by each side is added, so that it
    has a width even where all items agree, and it holds its coverage in small samples.
    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", Journal of Educational and Behavioral Statistics 37(4).
    Deviation: ties count half, where the paper knows only won and lost; with none it is the paper's interval.
    """
    left, right = _both(a, b)
    if not all(0 <= value <= 1 for value in (left.min(), left.max(), right.min(), right.max())):
        raise DataError("outcomes lie between 0 and 1; for other values give their differences to mean_interval")
    difference = left - right
    adjusted = np.concatenate([difference, [1.0, -1.0]])
    reach = _normal_quantile(level) * float(adjusted.std()) / sqrt(len(adjusted))
    centre = float(adjusted.mean())
    return Estimate(float(difference.mean()), max(-1.0, centre - reach), min(1.0, centre + reach), len(difference))


def _both(first: ArrayLike, second: ArrayLike) -> tuple[Values, Values]:
    left, right = _finite(first, "first"), _finite(second, "second")
    if len(left) != len(right):
        raise DataError(f"both sides need one value an item, not {len(left)} and {len(right)}")
    return left, right


def _finite(values: ArrayLike, name: str) -> Values:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise DataError(f"{name}: one value an item and at least one item, not shape {array.shape}")
    bad: Sequence[int] = np.flatnonzero(~np.isfinite(array)).tolist()
    if bad:
        raise Diverged(f"{name}: {len(bad)} of {len(array)} values are not finite, the first at item {bad[0]} (from 0)")
    return array


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + _checked(level)) / 2)


def _student_quantile(level: float, degrees: int) -> float:
    # scipy takes a while to load, and only this needs it
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(degrees, (1 + _checked(level)) / 2))


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ConfigInvalid(f"level must lie strictly between 0 and 1, not {level}")
    return level
