"""A win rate as it would be if the answers were as long as those that they are compared with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.server.evaluation.statistics.interval import Values, Vector, both_tails, pair
from trimtab.server.evaluation.statistics.resampling import blocks

RIDGE = 0.01
"""Weight of the squared coefficients in the loss, against a sum over pairs: keeps constant or separable wins finite."""
_STEPS = 50


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A win rate without what length did."""

    rate: float
    """Wins at equal lengths, 0 to 1."""
    low: float | None
    """None where there is a single pair."""
    high: float | None
    raw: float
    """Mean of the wins as they are."""
    n: int
    """Pairs."""
    support: float
    """The smaller of the shares of answers not shorter and not longer than the other. Near 0, `rate` is extrapolated."""
    level: float = 0.95


def length_controlled_win_rate(
    wins: Values,
    lengths: Values,
    baseline_lengths: Values,
    *,
    level: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
) -> LengthControlled:
    """The win rate at no difference in length, with a percentile bootstrap interval.

    wins: 1 won, 0.5 tied, 0 lost, or anything between; lengths: of the answers, in any unit, above or equal to 0.
    A logistic regression of the wins on an intercept and tanh(difference / its standard deviation), read at 0.
    Raises ValueError: no pairs, lengths that differ, NaN, wins outside 0 to 1.
    Source: Dubois et al. 2024, arXiv 2404.04475, section 3.
    Deviation: no term for the difficulty of an instruction, which needs many pairs of models; a ridge of 0.01 on both
    coefficients; the standard deviation is that of all pairs in every draw.
    """
    won, difference = _checked(wins, lengths, baseline_lengths)
    both_tails(level)
    spread = float(difference.std())
    longer = np.tanh(difference / spread) if spread > 0 else np.zeros_like(difference)
    fitted = _fit(won, longer, np.ones((1, len(won))), np.zeros((1, 2)))
    drawn = _redrawn(won, longer, fitted, draws, seed)
    low, high = np.quantile(_sigmoid(drawn), [(1 - level) / 2, (1 + level) / 2]) if len(won) > 1 else (None, None)
    support = float(min(np.mean(difference >= 0), np.mean(difference <= 0)))
    return LengthControlled(
        float(_sigmoid(fitted[0, 0])), _or_none(low), _or_none(high), float(won.mean()), len(won), support, level
    )


def _checked(wins: Values, lengths: Values, baseline_lengths: Values) -> tuple[Vector, Vector]:
    won, own = pair("wins", wins, "lengths", lengths)
    _, other = pair("wins", wins, "baseline_lengths", baseline_lengths)
    outside = won[(won < 0) | (won > 1)]
    if len(outside):
        raise ValueError(f"wins holds {outside[0]}; 1 is won, 0.5 tied, 0 lost")
    if min(own.min(), other.min()) < 0:
        raise ValueError(f"a length is {min(own.min(), other.min())}; lengths are at least 0")
    return won, own - other


def _redrawn(won: Vector, longer: Vector, fitted: Vector, draws: int, seed: int) -> Vector:
    """The intercepts of regressions on pairs drawn again, (draws,)."""
    rng, count = np.random.default_rng(seed), len(won)
    found = []
    for rows in blocks(draws, count):
        places = rng.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(places.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        found.append(_fit(won, longer, times, np.repeat(fitted, rows, axis=0))[:, 0])
    return np.concatenate(found)


def _fit(won: Vector, longer: Vector, times: Vector, begin: Vector) -> NDArray[np.float64]:
    """Intercept and slope of each weighted regression, (B, 2), by Newton's method. times: (B, n); begin: (B, 2)."""
    at = begin.copy()
    for _ in range(_STEPS):
        p = _sigmoid(at[:, :1] + at[:, 1:] * longer)
        off, weight = times * (won - p), times * p * (1 - p)
        gradient = np.stack([off.sum(axis=1), off @ longer], axis=1) - RIDGE * at
        a, b, c = weight.sum(axis=1) + RIDGE, weight @ longer, weight @ longer**2 + RIDGE
        step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
        step = np.clip(step / (a * c - b * b)[:, None], -2.0, 2.0)  # far out the loss is flat and a whole step overshoots
        at = at + step
        if np.abs(step).max() < 1e-8:
            break
    return at


def _sigmoid(x: Vector) -> Vector:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float64)


def _or_none(x: float | None) -> float | None:
    return None if x is None else float(x)
