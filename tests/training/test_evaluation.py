import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.training.errors import ConfigInvalid, DataError, Diverged
from trimtab.training.evaluation import Estimate, accuracy, mean_interval, outcomes, paired_difference, proportion

Scores = st.lists(st.floats(-100, 100), min_size=1, max_size=40)
Results = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40)


def test_wilson_by_hand() -> None:
    """z = 1.959964, z^2 = 3.841459, p = 0.8, n = 10.

    centre (0.8 + 0.192073) / 1.384146 = 0.716740; reach 1.959964 / 1.384146 * sqrt(0.016 + 0.009604) = 0.226577.
    """
    estimate = proportion(8, 10)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.8, 0.490162, 0.943318), abs=1e-5)


def test_a_perfect_score_still_has_a_width() -> None:
    # centre + reach is exactly 1; low = 1 / (1 + z^2 / n) = 1 / (1 + 0.3841459)
    assert proportion(10, 10).low == pytest.approx(0.722467, abs=1e-6)
    assert proportion(10, 10).high == 1.0
    assert proportion(0, 10).high == pytest.approx(1 - 0.722467, abs=1e-6)


@given(st.integers(1, 500), st.data())
def test_wilson_is_symmetric_and_holds_the_value(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    wins, losses = proportion(k, n), proportion(n - k, n)
    assert 0 <= wins.low <= wins.value <= wins.high <= 1
    assert (wins.low, wins.high) == pytest.approx((1 - losses.high, 1 - losses.low), abs=1e-9)


def test_a_higher_level_is_wider() -> None:
    narrow, wide = proportion(60, 100, level=0.8), proportion(60, 100, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_ties_count_half() -> None:
    # won, lost, tie, tie: (1 + 0 + 0.5 + 0.5) / 4
    first, second = [2.0, 1.0, 3.0, 0.0], [1.0, 2.0, 3.0, 0.0]
    assert outcomes(first, second).tolist() == [1.0, 0.0, 0.5, 0.5]
    assert accuracy(first, second) == proportion(2.0, 4)


@given(Scores)
def test_exchanging_the_sides_gives_the_complement(first: list[float]) -> None:
    second = [*first[1:], 0.0]
    assert accuracy(first, second).value == pytest.approx(1 - accuracy(second, first).value)


def test_mean_by_hand() -> None:
    """1, 2, 3: mean 2, s = 1, t(2 degrees, 97.5 %) = 4.302653, reach 4.302653 / sqrt(3) = 2.484138."""
    estimate = mean_interval([1.0, 2.0, 3.0])
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == pytest.approx((2.0, -0.484138, 4.484138, 3), abs=1e-5)


def test_one_value_says_nothing_about_the_mean() -> None:
    assert mean_interval([0.3]) == Estimate(0.3, -math.inf, math.inf, 1)


def test_paired_difference_by_hand() -> None:
    """40 pairs, 12 won by a alone, 4 by b alone: Bonett and Price's p12 = 13/42, p21 = 5/42.

    centre 8/42 = 0.190476; variance (18/42 - 0.036281) / 42 = 0.009340; reach 1.959964 * 0.096645 = 0.189420.
    """
    a = [1.0] * 12 + [0.0] * 4 + [1.0] * 24
    b = [0.0] * 12 + [1.0] * 4 + [1.0] * 24
    estimate = paired_difference(a, b)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.2, 0.001056, 0.379896), abs=1e-5)


@given(Results)
def test_a_scorer_is_not_better_than_itself(results: list[float]) -> None:
    same = paired_difference(results, results)
    assert same.low < same.value == 0 < same.high


@given(Results, st.data())
def test_the_difference_is_antisymmetric(a: list[float], data: st.DataObject) -> None:
    b = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(a), max_size=len(a)))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert -1 <= there.low <= there.high <= 1


@pytest.mark.parametrize("n", [30, 200])
def test_the_paired_interval_covers_what_it_claims(n: int) -> None:
    """2,000 samples of two scorers right in 70 % and 60 %, independently: the true difference 0.1 lies inside about 95 %.

    The share inside has a standard error of 0.005; four of them either way.
    """
    rng = np.random.default_rng(n)
    inside = 0
    for _ in range(2000):
        estimate = paired_difference((rng.random(n) < 0.7).astype(float), (rng.random(n) < 0.6).astype(float))
        inside += int(estimate.low <= 0.1 <= estimate.high)
    assert inside / 2000 == pytest.approx(0.95, abs=0.02)


def test_an_estimate_reads_well() -> None:
    assert str(proportion(8, 10)) == "0.800 [0.490, 0.943], n = 10"


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0])
def test_a_level_is_a_probability(level: float) -> None:
    with pytest.raises(ConfigInvalid, match="level"):
        proportion(1, 2, level=level)


def test_what_cannot_be_evaluated() -> None:
    with pytest.raises(DataError, match="at least one item"):
        accuracy([], [])
    with pytest.raises(DataError, match="3 of 2"):
        proportion(3, 2)
    with pytest.raises(DataError, match="not 2 and 1"):
        accuracy([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="between 0 and 1"):
        paired_difference([3.0], [1.0])
    with pytest.raises(Diverged, match="1 of 3 values are not finite, the first at item 1"):
        accuracy([1.0, math.nan, 2.0], [0.0, 0.0, 0.0])
