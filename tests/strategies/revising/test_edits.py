"""Edits: words counted, diffs shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.strategies.revising.edits import Edits, diff, edits

words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("one two three", "one two three", Edits(0, 0)),
        ("one two three", "one 2 three", Edits(1, 1)),
        ("one two", "one two three four", Edits(2, 0)),
        ("one two two", "one two", Edits(0, 1)),
        ("one  two\n", "one two", Edits(0, 0)),
        ("", "one", Edits(1, 0)),
    ],
)
def test_words_that_came_and_went(old: str, new: str, expected: Edits) -> None:
    assert edits(old, new) == expected


@given(old=words, new=words)
def test_the_balance_of_words_is_right(old: list[str], new: list[str]) -> None:
    changed = edits(" ".join(old), " ".join(new))
    assert changed.added - changed.removed == len(new) - len(old)
    assert 0 <= changed.removed <= len(old)


def test_a_diff_goes_by_sentences() -> None:
    old = "It is 3.5 km. Go by bus! Then walk.\nBye."
    new = "It is 3.5 km. Go by train! Then walk.\nBye."
    assert diff(old, new).splitlines()[2:] == [
        "@@ -1,3 +1,3 @@",
        " It is 3.5 km.",
        "-Go by bus!",
        "+Go by train!",
        " Then walk.",
    ]
    assert diff(old, old) == ""


@given(old=st.text(alphabet="a.b \n!", max_size=30))
def test_no_change_no_diff(old: str) -> None:
    assert diff(old, old) == ""
