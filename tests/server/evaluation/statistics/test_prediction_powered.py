"""Few human labels and many judgements: never wrong by the judge, sharper by a good one."""

import math

import numpy as np
import pytest

from trimtab.server.evaluation.statistics.interval import Interval
from trimtab.server.evaluation.statistics.prediction_powered import judge_weight, ppi_mean

TRUE_RATE = 0.6


def width(found: Interval) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def labelled(right: float, seed: int, n: int = 50, rest: int = 1_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of n samples at a true rate of 0.6, and a judge who says 1 too often and is otherwise right with `right`."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n + rest) < TRUE_RATE).astype(float)
    said = np.where(rng.random(n + rest) < right, truth, rng.random(n + rest) < 0.9)
    return truth[:n], said[:n], said[n:]


def test_by_hand() -> None:
    # labels 1 0 1 0 1 1, judged the same; rest half ones of 6. Cov = Var(labels) = 0.26667; all twelve have variance 0.26515
    # (7 ones); weight = 0.26667 / ((1 + 6/6) * 0.26515) = 0.50286. Estimate 2/3 - w * 2/3 + w * 1/2 = 0.58286
    human = [1, 0, 1, 0, 1, 1]
    assert judge_weight(human, human, [1, 0, 1, 0, 1, 0]) == pytest.approx(0.50286, abs=1e-5)
    found = ppi_mean(human, human, [1, 0, 1, 0, 1, 0])
    assert found.estimate == pytest.approx(0.58286, abs=1e-5)
    # variance (1 - w)^2 * 0.26667 / 6 + w^2 * 0.3 / 6 = 0.010984 + 0.012643; t of 5 degrees 2.5706
    assert width(found) == pytest.approx(2 * 2.5706 * math.sqrt(0.023628), abs=2e-3)
    assert found.n == 6


@pytest.mark.parametrize("right", [0.0, 0.8, 1.0])
def test_intervals_hold_the_true_rate(right: float) -> None:
    # 500 runs; 95 % -+ 3 standard errors of 0.97 %, and labels of 0 and 1 cost another percent
    found = [ppi_mean(*labelled(right, seed)) for seed in range(500)]
    held = sum(one.low is not None and one.high is not None and one.low <= TRUE_RATE <= one.high for one in found)
    assert 0.91 <= held / 500 <= 0.98
    assert np.mean([one.estimate for one in found]) == pytest.approx(TRUE_RATE, abs=0.012)  # the judge alone says up to 0.9


def test_a_perfect_judge_is_worth_labels_of_all() -> None:
    # 50 labels and 1,000 perfect judgements: about sqrt(50 / 1050) = 0.22 of the width of the labels alone
    human, same, rest = labelled(1.0, seed=0)
    alone = ppi_mean(human, same, [])
    assert width(ppi_mean(human, same, rest)) == pytest.approx(0.22 * width(alone), rel=0.15)


def test_a_useless_judge_costs_nothing() -> None:
    widths = [(width(ppi_mean(*labelled(0.0, seed))), width(ppi_mean(*labelled(0.0, seed)[:2], []))) for seed in range(50)]
    assert all(with_judge <= 1.02 * alone for with_judge, alone in widths)
    assert np.mean([with_judge / alone for with_judge, alone in widths]) == pytest.approx(1.0, abs=0.02)


def test_a_judge_of_one_word_is_left_out() -> None:
    human = [1, 0, 1, 1, 0]
    assert judge_weight(human, [1] * 5, [1] * 100) == 0.0
    assert ppi_mean(human, [1] * 5, [1] * 100) == ppi_mean(human, [1] * 5, [])


def test_a_judge_who_says_the_opposite_is_left_out() -> None:
    assert judge_weight([1, 0, 1, 0], [0, 1, 0, 1], [0, 1] * 20) == 0.0


def test_a_constant_bias_of_the_judge_changes_nothing() -> None:
    human, same, rest = labelled(0.8, seed=1)
    one, other = ppi_mean(human, same, rest), ppi_mean(human, same + 7, rest + 7)
    assert (one.estimate, one.low) == (pytest.approx(other.estimate), pytest.approx(other.low))


def test_fewer_than_five_labels_have_no_bounds() -> None:
    assert ppi_mean([1, 0, 1, 1], [1, 0, 1, 1], [1] * 9).low is None
    assert ppi_mean([1, 0, 1, 1, 0], [1, 0, 1, 1, 0], [1] * 9).low is not None


def test_few_labels_are_told_by_students_t() -> None:
    # 0 1 0 1 1: mean 0.6, variance 0.3; t of 4 degrees 2.7764, half = 2.7764 * sqrt(0.06) = 0.6801
    found = ppi_mean([0, 1, 0, 1, 1], [0] * 5, [])
    assert width(found) / 2 == pytest.approx(0.6801, rel=1e-3)


@pytest.mark.parametrize(
    ("human", "same", "rest", "message"),
    [
        ([], [], [1], "human holds 0 values"),
        ([1], [1, 0], [1], "human holds 1 values and judged_same 2"),
        ([1, 0], [1, 0], [math.nan], r"judged_rest\[0\] is nan"),
    ],
)
def test_bad_input_is_named(human: list[float], same: list[float], rest: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ppi_mean(human, same, rest)
