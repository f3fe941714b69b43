"""Words and runs of words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.evaluation.scorers.words import grams, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n ", []),
        ("Water it, WATER it!", ["water", "it", "water", "it"]),
        ("Don't over-water.", ["don't", "over", "water"]),
        ("It’s 20 °C.", ["it’s", "20", "c"]),
        ("水をやる", ["水をやる"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_grams() -> None:
    assert grams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    assert grams(["a"], 2) == []


@given(st.lists(st.text(max_size=3), max_size=12), st.integers(1, 4))
def test_as_many_grams_as_places(tokens: list[str], n: int) -> None:
    assert len(grams(tokens, n)) == max(0, len(tokens) - n + 1)
