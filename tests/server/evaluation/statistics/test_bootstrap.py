"""Intervals of means and differences, and the p-values beside them."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.evaluation.statistics.bootstrap import mean_interval, paired_difference

NUMBERS = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=12)


def test_the_interval_of_a_mean_is_scipys() -> None:
    # scipy 1.17.1: stats.bootstrap(([1, 2, 2, 3, 4, 4, 5, 8, 9, 12, 15, 21.5],), np.mean, n_resamples=500_000, rng=0,
    # method="BCa") gives [4.50, 11.54] to two places; 20,000 draws are within 0.15 of it
    found = mean_interval([1, 2, 2, 3, 4, 4, 5, 8, 9, 12, 15, 21.5], draws=20_000)
    assert found.estimate == pytest.approx(86.5 / 12)
    assert (found.low, found.high) == (pytest.approx(4.50, abs=0.15), pytest.approx(11.54, abs=0.15))
    assert (found.n, found.level) == (12, 0.95)


@pytest.mark.parametrize("shift", [0.0, 1e-3])
def test_a_symmetric_sample_gives_nearly_the_normal_interval(shift: float) -> None:
    # 0 and 1 half each, n = 400: standard error 0.5 / 20 = 0.025, 1.96 of them 0.049; the shift makes all values distinct,
    # so that places are drawn and not how often each value comes
    values = np.tile([0.0, 1.0], 200) + shift * np.arange(400) / 400
    found = mean_interval(values)
    assert found.low == pytest.approx(0.451, abs=0.003)
    assert found.high == pytest.approx(0.549, abs=0.004)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(3).normal(size=60)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1).low != mean_interval(values, seed=2).low


def test_a_higher_level_is_wider() -> None:
    values = np.random.default_rng(3).normal(size=60)
    narrow, wide = mean_interval(values, level=0.8), mean_interval(values, level=0.99)
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.low < narrow.low < narrow.estimate


@pytest.mark.parametrize("distinct", [True, False])
def test_intervals_hold_the_truth_about_as_often_as_they_say(distinct: bool) -> None:
    # 300 samples of 40; 95 % -+ 3 standard errors of 1.26 %: 91.2 % to 98.8 %; small samples of skewed values lose 1 %
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        values = rng.exponential(1.0, 40) if distinct else rng.integers(0, 3, 40) / 2
        found = mean_interval(values, draws=1_000, seed=seed)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= (1.0 if distinct else 0.5) <= found.high
    assert 0.90 <= held / 300 <= 0.988


def test_samples_that_repeat_count_as_one_where_they_are_named() -> None:
    # each of 30 values four times: the mean is the same; without clusters the interval is about half as wide (1 / sqrt 4)
    values = np.random.default_rng(5).normal(size=30)
    repeated, names = np.repeat(values, 4), [f"sample {i // 4}" for i in range(120)]
    alone, clustered, naive = mean_interval(values), mean_interval(repeated, clusters=names), mean_interval(repeated)
    widths = [found.high - found.low for found in (alone, clustered, naive) if found.high is not None and found.low is not None]
    assert clustered.estimate == pytest.approx(alone.estimate)
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert widths[2] == pytest.approx(widths[0] / 2, rel=0.05)


def test_a_single_value_or_cluster_has_no_bounds() -> None:
    assert (mean_interval([3.0]).low, mean_interval([3.0]).high) == (None, None)
    assert mean_interval([1.0, 3.0], clusters="aa").low is None
    assert paired_difference([3.0], [1.0]).low is None


def test_equal_answers_do_not_differ() -> None:
    found = paired_difference([0.1, 0.2, 0.7], [0.1, 0.2, 0.7])
    assert (found.estimate, found.low, found.high, found.p, found.n) == (0.0, 0.0, 0.0, 1.0, 3)


def test_a_constant_difference_has_no_width() -> None:
    found = paired_difference([1, 2, 3], [0, 1, 2])
    assert (found.estimate, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.p == 0.25  # of 2^3 choices of signs, all plus and all minus are as extreme: 2 / 8


def test_the_p_value_by_hand() -> None:
    # differences 3, -1, 2 sum to 4. |+-3 +-1 +-2| >= 4: 3+1+2 = 6, 3-1+2 = 4 and their opposites: 4 of 8
    found = paired_difference([3, 0, 2], [0, 1, 0])
    assert (found.p, found.way) == (0.5, "exact")


def test_zeros_change_no_p_value() -> None:
    assert paired_difference([3, 0, 2, 5, 5], [0, 1, 0, 5, 5]).p == 0.5


def test_signs_of_a_cluster_flip_together() -> None:
    # the clusters sum to 3 - 1 = 2 and 2: |+-2 +-2| >= 4 for 2 of 4
    assert paired_difference([3, 0, 2], [0, 1, 0], clusters=["x", "x", "y"]).p == 0.5
    assert paired_difference([3, 0, 2], [0, 1, 0], clusters=["x", "y", "x"]).p == 1.0  # 5 and -1: |+-5 +-1| >= 4, all of 4


def test_drawn_p_values_of_equal_steps_are_near_the_exact_one() -> None:
    # 30 differences of 1, 20 up: a sign test; P(|B - 15| >= 5) for B of 30 fair coins = 2 * P(B <= 10) = 0.098737;
    # 4 standard errors of 10,000 draws are 0.012
    found = paired_difference([1] * 20 + [-1] * 10, [0] * 30)
    assert found.way == "drawn"
    assert found.p == pytest.approx(2 * sum(math.comb(30, k) for k in range(11)) / 2**30, abs=0.012)


def test_drawn_p_values_of_many_differences_are_nearly_normal() -> None:
    # the sum under random signs has mean 0 and variance sum(d^2), and is near normal for 300 of them
    differences = np.random.default_rng(9).normal(0.1, 1, 300)
    z = abs(differences.sum()) / math.sqrt(float((differences**2).sum()))
    expected = 2 * (1 - NormalDist().cdf(z))
    assert 0.01 < expected < 0.5
    assert paired_difference(differences, np.zeros(300)).p == pytest.approx(expected, abs=0.02)


def test_a_drawn_p_is_never_zero() -> None:
    assert paired_difference(np.arange(1.0, 61.0), np.zeros(60), draws=1_000).p == pytest.approx(1 / 1001)


def test_p_values_of_no_difference_are_uniform() -> None:
    # 400 pairs of samples of 30 without a difference: below 0.1 for 10 % +- 3 * 1.5 %
    rng = np.random.default_rng(2)
    low = sum(paired_difference(rng.normal(size=30), rng.normal(size=30), draws=500, seed=seed).p <= 0.1 for seed in range(400))
    assert 0.055 <= low / 400 <= 0.145


@given(NUMBERS, st.integers(0, 5))
def test_the_other_way_round_is_the_opposite(values: list[float], seed: int) -> None:
    zeros = [0.0] * len(values)
    one, other = paired_difference(values, zeros, draws=200, seed=seed), paired_difference(zeros, values, draws=200, seed=seed)
    assert one.estimate == pytest.approx(-other.estimate)
    assert one.p == pytest.approx(other.p)


@given(NUMBERS)
def test_an_interval_lies_within_the_values(values: list[float]) -> None:
    found = mean_interval(values, draws=200)
    assert found.low is not None
    assert found.high is not None
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack


BAD = {
    "none": (lambda: mean_interval([]), "values holds 0 values; at least 1 needed"),
    "nan": (lambda: mean_interval([1.0, math.nan]), r"values\[1\] is nan; values must be finite"),
    "table": (lambda: mean_interval(np.zeros((2, 2))), "one row of numbers"),
    "lengths": (lambda: paired_difference([1.0], [1.0, 2.0]), "a holds 1 values and b 2"),
    "level": (lambda: mean_interval([1.0, 2.0], level=95), "level is 95; it must lie between 0 and 1"),
    "draws": (lambda: mean_interval([1.0, 2.0], draws=0), "draws is 0"),
    "clusters": (lambda: mean_interval([1.0, 2.0], clusters=["a"]), "clusters holds 1 names for 2 values"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    act, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        act()
