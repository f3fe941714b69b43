"""An estimate with its interval, and the check that numbers are numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.float64]
"""Numbers, one a sample."""
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and where the true value plausibly lies."""

    estimate: float
    low: float | None
    """None = the data set no bound on this side, e.g. a single value."""
    high: float | None
    n: int
    """Values it rests on."""
    level: float = 0.95
    """Share of such intervals that hold the true value."""


def vector(name: str, values: Values, *, least: int = 1) -> Vector:
    """The numbers as an array, (n,). Raises ValueError: fewer than `least`, not one row of numbers, NaN or infinite."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"{name} must be one row of numbers, not of shape {found.shape}")
    if len(found) < least:
        raise ValueError(f"{name} holds {len(found)} values; at least {least} needed")
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] is {found[bad[0]]}; values must be finite (leave unscored samples out)")
    return found


def pair(a_name: str, a: Values, b_name: str, b: Values, *, least: int = 1) -> tuple[Vector, Vector]:
    """Both as arrays of one length. Raises ValueError as `vector`, and where the lengths differ."""
    first, second = vector(a_name, a, least=least), vector(b_name, b, least=least)
    if len(first) != len(second):
        raise ValueError(f"{a_name} holds {len(first)} values and {b_name} {len(second)}; they must be of the same samples")
    return first, second


def both_tails(level: float) -> float:
    """z with `level` of a standard normal between -z and z. Raises ValueError for a level outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, e.g. 0.95")
    return NormalDist().inv_cdf((1 + level) / 2)
