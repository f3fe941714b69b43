"""Agreement of raters: numbers by hand, and what is undefined."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.evaluation.statistics.agreement import (
    cohen_kappa,
    fleiss_kappa,
    pairwise_agreement,
    spearman,
)

LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=20)


def test_cohens_kappa_by_hand() -> None:
    # both yes 20, yes/no 5, no/yes 10, both no 15: observed 35/50 = 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5; 0.2 / 0.5
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4)


def test_full_and_opposite_agreement() -> None:
    assert cohen_kappa("abab", "abab") == 1.0
    assert cohen_kappa("abab", "baba") == pytest.approx(-1.0)


def test_one_label_alone_has_no_kappa() -> None:
    assert cohen_kappa("aaa", "aaa") is None
    assert fleiss_kappa(["aa", "aa"]) is None


@given(LABELS, st.randoms())
def test_kappa_does_not_care_who_is_first(a: list[str], random: object) -> None:
    b = a[1:] + a[:1]
    one, other = cohen_kappa(a, b), cohen_kappa(b, a)
    assert one == other if one is None or other is None else one == pytest.approx(other)


def test_fleiss_kappa_by_hand() -> None:
    # 3 raters, 4 items. Pairs that agree: 1, 1/3, 1/3, 1: mean 2/3. By chance 1/4 + 1/4 = 1/2. (2/3 - 1/2) / (1 - 1/2)
    assert fleiss_kappa(["yyy", "yyn", "ynn", "nnn"]) == pytest.approx(1 / 3)


def test_fleiss_kappa_of_his_own_scale() -> None:
    # 14 raters, 10 items, 5 labels; counts by item, the standard worked example: 0.210 to three places
    counts = [
        *((0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1)),
        *((7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7)),
    ]
    ratings = [[label for label, times in enumerate(item) for _ in range(times)] for item in counts]
    assert fleiss_kappa(ratings) == pytest.approx(0.210, abs=5e-4)


def test_spearman_by_hand() -> None:
    # ranks 1..5 and 2 1 4 3 5: squared differences 1 1 1 1 0, rho = 1 - 6 * 4 / (5 * 24) = 0.8
    found = spearman([1, 2, 3, 4, 5], [20, 10, 40, 30, 50])
    assert found is not None
    assert found.estimate == pytest.approx(0.8)
    # Bonett and Wright: half = 1.95996 * sqrt((1 + 0.32) / 2) = 1.59228 around atanh 0.8 = 1.09861
    assert (found.low, found.high) == (
        pytest.approx(math.tanh(-0.49367), abs=1e-4),
        pytest.approx(math.tanh(2.69089), abs=1e-4),
    )


def test_ties_share_their_mean_rank() -> None:
    # ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: sums of products about the means 4.5, of squares 4.5 and 5: 4.5 / sqrt(22.5)
    found = spearman([1, 2, 2, 9], [1, 2, 3, 4])
    assert found is not None
    assert found.estimate == pytest.approx(4.5 / math.sqrt(22.5))


def test_perfect_and_few_ranks_have_no_bounds() -> None:
    perfect, few = spearman([1, 2, 3, 4, 5], [1, 4, 9, 16, 25]), spearman([1, 2, 3], [1, 3, 2])
    assert perfect is not None
    assert few is not None
    assert (perfect.estimate, perfect.low, perfect.high) == (pytest.approx(1.0), None, None)
    assert few.low is None


def test_constant_ratings_have_no_rank_correlation() -> None:
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_spearman_intervals_hold_the_truth() -> None:
    # independent numbers: rho 0. 300 samples of 40; 95 % -+ 3 standard errors of 1.26 %
    rng = np.random.default_rng(6)
    found = [spearman(rng.normal(size=40), rng.normal(size=40)) for _ in range(300)]
    held = sum(one is not None and one.low is not None and one.high is not None and one.low <= 0 <= one.high for one in found)
    assert 0.912 <= held / 300 <= 0.988


def test_pairwise_agreement_by_hand() -> None:
    # same: 1/1, tie/tie, 0/0; not: 1/0, tie/1 -> 3 of 5; both decided: 1/1, 0/0, 1/0 -> 2 of 3
    found = pairwise_agreement([1, 0.5, 0, 1, 0.5], [1, 0.5, 0, 0, 1])
    assert (found.rate, found.decided, found.n, found.n_decided) == (0.6, pytest.approx(2 / 3), 5, 3)


def test_ties_alone_decide_nothing() -> None:
    found = pairwise_agreement([0.5, 0.5], [0.5, 0.5])
    assert (found.rate, found.decided) == (1.0, None)


BAD = {
    "lengths": (lambda: cohen_kappa("ab", "a"), "a holds 2 labels and b 1"),
    "empty": (lambda: cohen_kappa("", ""), "a holds no labels"),
    "missing": (lambda: cohen_kappa(["a", None], ["a", "b"]), r"a\[1\] is missing"),
    "nan": (lambda: cohen_kappa([1.0, 2.0], [1.0, math.nan]), r"b\[1\] is missing"),
    "ragged": (lambda: fleiss_kappa(["ab", "a"]), r"ratings\[1\] holds 1 ratings and ratings\[0\] 2"),
    "fleiss missing": (lambda: fleiss_kappa([["a", None]]), r"ratings\[0\]\[1\] is missing"),
    "one rater": (lambda: fleiss_kappa(["a", "b"]), "by one rater"),
    "no items": (lambda: fleiss_kappa([]), "no items"),
    "one pair": (lambda: spearman([1.0], [1.0]), "at least 2"),
    "verdict": (lambda: pairwise_agreement([2], [1]), "2.0 is no verdict"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    act, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        act()
