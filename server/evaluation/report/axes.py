"""Axes of a plot: where a value lies in pixels, and which values get a tick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOGARITHMIC_FROM = 4.0
"""Ratio of the largest to the least positive value from which an axis of ratios is logarithmic."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values laid over a range of pixels."""

    low: float
    high: float
    begin: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`; below `begin` for an axis that runs up."""
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; one outside of the range lies on its nearer end."""
        value = min(self.high, max(self.low, value))
        low, high, place = (map(math.log, (self.low, self.high, value))) if self.logarithmic else (self.low, self.high, value)
        return self.begin + (place - low) / (high - low) * (self.end - self.begin)


def linear_axis(values: Sequence[float], begin: float, end: float, *, ticks: int = 5) -> Axis:
    """An axis that holds all values, with round ticks. Values are finite and at least one."""
    low, high = min(values), max(values)
    space = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = low - space, high + space
    step = _round_step((high - low) / ticks)
    first = math.ceil(low / step)
    return Axis(low, high, begin, end, tuple(round(place * step, 12) for place in range(first, math.floor(high / step) + 1)))


def ratio_axis(values: Sequence[float], begin: float, end: float) -> Axis:
    """An axis for multiples of 1, logarithmic where they lie far apart."""
    kept = [value for value in values if value > 0] or [1.0]
    if len(kept) < len(values) or max(kept) / min(kept) < LOGARITHMIC_FROM:
        return linear_axis([*values, 1.0], begin, end)
    low, high = min(kept) / 1.25, max(kept) * 1.6
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = tuple(tick for power in decades for digit in (1, 2, 5) if low <= (tick := digit * 10.0**power) <= high)
    return Axis(low, high, begin, end, ticks, logarithmic=True)


def _round_step(step: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * 0.999)
