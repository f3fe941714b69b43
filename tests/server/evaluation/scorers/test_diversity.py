"""Distinct n-grams and repetition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.server.evaluation.scorers.texts import item, verdict
from trimtab.server.evaluation.scorers.diversity import (
    Distinct,
    DistinctConfig,
    Repetition,
    RepetitionConfig,
    compression_ratio,
    distinct,
    ends_in_loop,
)

TEXT = "the cat saw the cat"


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, 3 / 5),  # the, cat, saw of five words
        (2, 3 / 4),  # the cat, cat saw, saw the of four pairs
        (3, 1.0),  # the cat saw, cat saw the, saw the cat
    ],
)
async def test_distinct_by_hand(n: int, expected: float) -> None:
    scorer = Distinct(DistinctConfig(n=n))
    assert (await verdict(scorer, item(TEXT))).value == expected
    assert scorer.about.name == f"distinct_{n}"


async def test_too_short_for_a_pair_is_unscored() -> None:
    judged = await verdict(Distinct(), item("Yes."))
    assert judged.value is None
    assert judged.unscored == "fewer than 2 words"


async def test_distinct_of_all_answers_together() -> None:
    items = [item("water it daily"), item("water it weekly"), item("")]
    # pairs: water it, it daily, water it, it weekly: three of four; none reaches from one answer into the next
    assert Distinct().summary(items, await Distinct().score(items)) == {"all": 3 / 4}
    assert Distinct().summary([item("")], []) == {}


@pytest.mark.parametrize("n", [0, 5])
def test_n_has_limits(n: int) -> None:
    with pytest.raises(ValidationError, match="n"):
        DistinctConfig(n=n)


async def test_repetition_by_hand() -> None:
    # a b c d a b c d: abcd bcda cdab dabc abcd are five runs of four, four of them different
    judged = await verdict(Repetition(), item("a b c d a b c d"))
    assert judged.value == pytest.approx(1 / 5)
    assert judged.details == {"loops": False}


async def test_repetition_of_a_short_answer_is_unscored() -> None:
    judged = await verdict(Repetition(), item("Yes, do so."))
    assert judged.value is None
    assert judged.unscored == "fewer than 4 words"


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("Start here. " + "and so on " * 3, True),  # 9 words, three copies
        ("no " * 8, True),
        ("no " * 7, False),  # fewer than 8 words
        ("one two three four " * 2, False),  # two copies only
        ("and so on " * 5 + "Then it ends well.", False),  # the loop was left
        ("Start here. and so on and so on and so on and so", True),  # cut in the middle of a block
        ("", False),
    ],
)
def test_loops(text: str, loops: bool) -> None:
    assert ends_in_loop(text, RepetitionConfig()) is loops


@given(st.lists(st.sampled_from("abc"), max_size=24))
def test_loops_as_by_brute_force(tokens: list[str]) -> None:
    config = RepetitionConfig(copies=2, loop_words=4)
    tails = (
        (length, period)
        for period in range(1, len(tokens) // 2 + 1)
        for length in range(max(2 * period, 4), len(tokens) + 1)
        if all(tokens[-at] == tokens[-at - period] for at in range(1, length - period + 1))
    )
    assert ends_in_loop(" ".join(tokens), config) is (next(tails, None) is not None)


async def test_all_together() -> None:
    items = [item("no " * 20), item("Water it daily and keep it warm.")]
    summary = Repetition().summary(items, await Repetition().score(items))
    assert summary["looping"] == 0.5
    assert summary["compression_ratio"] > 1
    assert Repetition().summary([], []) == {}


def test_alike_answers_compress_better() -> None:
    alike = compression_ratio(["Water the basil on the window sill every morning."] * 8)
    varied = compression_ratio(
        [f"{word} {word[::-1]} {place}" for place, word in enumerate(["basil", "window", "morning", "sill"])]
    )
    assert alike is not None
    assert varied is not None
    assert alike > 3 * varied
    assert compression_ratio(["", " "]) is None


@given(st.lists(st.text("ab ", max_size=12), max_size=5), st.integers(1, 4))
def test_distinct_is_a_share(texts: list[str], n: int) -> None:
    share = distinct(texts, n)
    assert share is None or 0 < share <= 1
