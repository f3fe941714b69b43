"""P-values of several comparisons."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.evaluation.statistics.corrections import holm

PS = st.lists(st.floats(0, 1), max_size=12)


def test_holm_by_hand() -> None:
    # ascending 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; never below an earlier one: the last is 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_none_and_one() -> None:
    assert holm([]) == ()
    assert holm([0.2]) == (0.2,)


@given(PS)
def test_it_only_raises_and_keeps_the_order(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= q + 1e-15 and q <= 1 for p, q in zip(ps, adjusted, strict=True))
    pairs = sorted(zip(ps, adjusted, strict=True))
    assert all(one[1] <= other[1] + 1e-15 for one, other in itertools.pairwise(pairs))


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="ps"):
        holm([0.5, bad])
