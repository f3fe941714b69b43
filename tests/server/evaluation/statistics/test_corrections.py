"""P-values of several comparisons."""

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.evaluation.statistics.corrections import benjamini_hochberg, holm

PS = st.lists(st.floats(0, 1), max_size=12)


def test_holm_by_hand() -> None:
    # ascending 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; never below an earlier one: the last is 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_benjamini_hochberg_by_hand() -> None:
    # ascending 0.005, 0.01, 0.03, 0.04 times 4/1, 4/2, 4/3, 4/4 = 0.02, 0.02, 0.04, 0.04
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.02, 0.04, 0.04, 0.02))


def test_a_later_smaller_one_pulls_an_earlier_down() -> None:
    # 0.03 * 3/1 = 0.09, 0.035 * 3/2 = 0.0525, 0.04 * 3/3 = 0.04
    assert benjamini_hochberg([0.03, 0.035, 0.04]) == pytest.approx((0.04, 0.04, 0.04))


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
def test_none_and_one(correct: Callable[[Sequence[float]], tuple[float, ...]]) -> None:
    assert correct([]) == ()
    assert correct([0.2]) == (0.2,)


@given(PS)
def test_corrections_only_raise_and_keep_the_order(ps: list[float]) -> None:
    for adjusted in (holm(ps), benjamini_hochberg(ps)):
        assert all(p <= q + 1e-15 and q <= 1 for p, q in zip(ps, adjusted, strict=True))
        pairs = sorted(zip(ps, adjusted, strict=True))
        assert all(one[1] <= other[1] + 1e-15 for one, other in itertools.pairwise(pairs))


@given(PS)
def test_holm_is_the_stricter(ps: list[float]) -> None:
    assert all(q <= p + 1e-12 for p, q in zip(holm(ps), benjamini_hochberg(ps), strict=True))


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="ps"):
        holm([0.5, bad])
