"""Win rates at equal lengths."""

import math

import numpy as np
import pytest

from trimtab.server.evaluation.statistics.length_control import LengthControlled, length_controlled_win_rate


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def drawn(quality: float, slope: float, n: int = 4_000) -> LengthControlled:
    """Pairs of which the answer is longer by 50 on average; wins by quality + slope * tanh(difference / its deviation)."""
    rng = np.random.default_rng(8)
    own, other = rng.normal(350, 60, n), rng.normal(300, 60, n)
    longer = np.tanh((own - other) / (own - other).std())
    wins = rng.random(n) < 1 / (1 + np.exp(-(quality + slope * longer)))
    return length_controlled_win_rate(wins.astype(float), own, other, draws=300)


def test_equal_lengths_leave_the_rate_as_it_is() -> None:
    # the ridge of 0.01 moves a rate of 0.75 of 40 pairs by 0.01 * logit / 40 = 0.0003
    found = length_controlled_win_rate([1] * 30 + [0] * 10, [9] * 40, [9] * 40)
    assert found.rate == pytest.approx(0.75, abs=5e-4)
    assert found.raw == 0.75
    assert found.support == 1.0


def test_wins_by_length_alone_are_no_wins() -> None:
    found = drawn(quality=0.0, slope=2.0)
    assert found.raw > 0.6
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high
    assert found.rate == pytest.approx(0.5, abs=0.03)


def test_wins_by_quality_stay() -> None:
    # the true rate at equal lengths is sigmoid(1) = 0.731; its standard error at 4,000 pairs is about 0.01
    found = drawn(quality=1.0, slope=-1.0)
    assert found.raw < 0.70
    assert found.rate == pytest.approx(logistic(1.0), abs=0.03)


def test_ties_count_half() -> None:
    found = length_controlled_win_rate([0.5] * 20, range(20), range(20, 0, -1))
    assert (found.rate, found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))


def test_the_other_way_round_is_the_complement() -> None:
    rng = np.random.default_rng(1)
    wins, own, other = rng.integers(0, 3, 50) / 2, rng.integers(5, 90, 50), rng.integers(5, 90, 50)
    one, back = length_controlled_win_rate(wins, own, other), length_controlled_win_rate(1 - wins, other, own)
    assert one.rate == pytest.approx(1 - back.rate, abs=1e-6)
    assert one.low is not None
    assert back.high is not None
    assert one.low == pytest.approx(1 - back.high, abs=1e-6)


@pytest.mark.parametrize("shape", ["all won", "the longer always won", "one pair", "two pairs"])
def test_wins_that_are_separable_stay_finite(shape: str) -> None:
    own, other = [30.0, 10.0, 40.0, 20.0], [20.0, 20.0, 20.0, 30.0]
    cases = {"all won": [1, 1, 1, 1], "the longer always won": [1, 0, 1, 0], "one pair": [1], "two pairs": [1, 0]}
    wins = cases[shape]
    found = length_controlled_win_rate(wins, own[: len(wins)], other[: len(wins)])
    assert 0 < found.rate < 1
    if len(wins) == 1:
        assert (found.low, found.high) == (None, None)
        return
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.high <= 1


def test_all_won_is_near_one() -> None:
    # n (1 - p) = 0.01 * logit(p): at n = 1000 that is logit = 9.34, p = 0.99991
    found = length_controlled_win_rate(np.ones(1000), np.arange(1000), np.arange(1000)[::-1])
    assert found.rate == pytest.approx(1.0, abs=3e-4)


def test_answers_that_are_all_longer_are_told() -> None:
    assert length_controlled_win_rate([1, 0, 1, 1], [30, 40, 50, 60], [10, 10, 10, 10]).support == 0.0


def test_the_same_seed_gives_the_same() -> None:
    assert drawn(0.5, 0.5, n=100) == drawn(0.5, 0.5, n=100)


@pytest.mark.parametrize(
    ("wins", "own", "other", "message"),
    [
        ([], [], [], "wins holds 0 values"),
        ([1], [1, 2], [1], "lengths 2"),
        ([2], [1], [1], "wins holds 2.0; 1 is won"),
        ([math.nan], [1], [1], r"wins\[0\] is nan"),
        ([1], [-1], [1], "a length is -1"),
    ],
)
def test_bad_input_is_named(wins: list[float], own: list[float], other: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        length_controlled_win_rate(wins, own, other)
