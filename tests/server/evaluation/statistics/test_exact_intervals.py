"""Intervals of rates and of quantiles."""

import math

import numpy as np
import pytest

from trimtab.server.evaluation.statistics.exact_intervals import proportion_interval, quantile_interval


def test_a_rate_by_hand() -> None:
    # 8 of 10, z = 1.96: middle (0.8 + 0.19208) / 1.38415 = 0.71674, half 1.96 / 1.38415 * sqrt(0.016 + 0.0096) = 0.2266
    found = proportion_interval([1] * 8 + [0] * 2)
    assert found.estimate == 0.8
    assert (found.low, found.high) == (pytest.approx(0.49016, abs=1e-5), pytest.approx(0.94332, abs=1e-5))


def test_a_rate_of_none_is_not_certain() -> None:
    # 0 of 50: Wilson's upper bound is z^2 / (n + z^2) = 3.8415 / 53.8415
    found = proportion_interval([0] * 50)
    assert (found.low, found.high) == (pytest.approx(0, abs=1e-15), pytest.approx(0.071348, abs=1e-6))


def test_a_single_answer_says_little() -> None:
    assert proportion_interval([1]).low == pytest.approx(1 / (1 + 3.841459), abs=1e-6)


def test_the_median_of_ten() -> None:
    # the classical table: the 2nd and the 9th of 10 hold the median with 1 - 2 * 11 / 1024 = 97.9 %, the 3rd and 8th with 89 %
    found = quantile_interval(range(10, 110, 10), 0.5)
    assert (found.estimate, found.low, found.high) == (55.0, 20.0, 90.0)


def test_few_values_bound_no_high_quantile() -> None:
    # an upper bound of the 95th percentile is the largest of n where 0.95^n <= 0.025: 0.95^71 = 0.0262, 0.95^72 = 0.0249
    assert quantile_interval(range(71), 0.95).high is None
    assert quantile_interval(range(72), 0.95).high == 71.0


def test_few_values_have_no_median_interval() -> None:
    # 2 * 2^-5 = 6.25 % > 5 %, 2 * 2^-6 = 3.1 %
    assert quantile_interval(range(5), 0.5).low is None
    assert (quantile_interval(range(6), 0.5).low, quantile_interval(range(6), 0.5).high) == (0.0, 5.0)


def test_a_single_latency() -> None:
    found = quantile_interval([7.0], 0.95)
    assert (found.estimate, found.low, found.high) == (7.0, None, None)


def test_low_and_high_quantiles_mirror_each_other() -> None:
    values = np.arange(200.0)
    low, high = quantile_interval(values, 0.05), quantile_interval(values, 0.95)
    assert high.high is not None
    assert high.low is not None
    assert (low.low, low.high) == (199.0 - high.high, 199.0 - high.low)


def test_quantile_intervals_hold_the_truth_as_often_as_they_say() -> None:
    # exponential values: the true median is log 2. 400 samples of 30; at least 95 %, less 3 standard errors of 1.1 %
    rng = np.random.default_rng(4)
    found = [quantile_interval(rng.exponential(size=30), 0.5) for _ in range(400)]
    held = sum(one.low is not None and one.high is not None and one.low <= math.log(2) <= one.high for one in found)
    assert held / 400 >= 0.917


def test_many_values_are_no_trouble() -> None:
    found = quantile_interval(np.arange(100_000.0), 0.5)
    # ranks 50,000 -+ 1.96 * sqrt(100,000) / 2 = 310
    assert (found.low, found.high) == (pytest.approx(49_690, abs=2), pytest.approx(50_310, abs=2))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"values holds 0\.5; a proportion is of zeros and ones"):
        proportion_interval([0, 0.5])
    with pytest.raises(ValueError, match="q is 95"):
        quantile_interval([1.0], 95)
    with pytest.raises(ValueError, match="holds 0 values"):
        quantile_interval([], 0.5)
