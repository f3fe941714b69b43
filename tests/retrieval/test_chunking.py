"""Passages cover a text, fit the window, and end where a sentence does."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trimtab.retrieval.chunking import Window, passages

WORD = re.compile(r"\w+|[^\w\s]")


def tokens(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in WORD.finditer(text)]


def cut(text: str, size: int, overlap: int = 0) -> list[str]:
    return [text[start:stop] for start, stop in passages(text, tokens(text), Window(size, overlap))]


def test_a_text_that_fits_is_one_passage() -> None:
    assert cut("  One two three. ", 4) == ["  One two three. "]
    assert cut("", 4) == [""]


def test_sentences_stay_whole() -> None:
    text = "The bell rings. Cats come home! Is it noon? They eat."
    assert cut(text, 8) == ["The bell rings. Cats come home!", "Is it noon? They eat."]


def test_paragraphs_are_better_borders_than_sentences() -> None:
    text = "One two three. Four\n\nFive six. Seven eight nine ten."
    assert cut(text, 8) == ["One two three. Four", "Five six. Seven eight nine ten."]


def test_without_sentences_words_stay_whole() -> None:
    text = "abcd efgh ijkl"
    halves = [(0, 2), (2, 4), (5, 7), (7, 9), (10, 12), (12, 14)]
    assert [text[a:b] for a, b in passages(text, halves, Window(5, 0))] == ["abcd efgh", "ijkl"]
    assert [text[a:b] for a, b in passages(text, halves, Window(5, 2))] == ["abcd efgh", "efgh ijkl"]


def test_a_token_may_hold_the_space_before_its_word() -> None:
    text = "One two. Three four. Five six."
    spans = [(0, 3), (3, 7), (7, 8), (8, 14), (14, 19), (19, 20), (20, 25), (25, 29), (29, 30)]
    assert [text[a:b].strip() for a, b in passages(text, spans, Window(7, 0))] == ["One two. Three four.", "Five six."]


def test_neighbours_share_a_sentence_where_it_fits_the_overlap() -> None:
    text = "Alpha is first. Beta is second. Gamma is third. Delta is fourth."
    assert cut(text, 12, overlap=5) == ["Alpha is first. Beta is second. Gamma is third.", "Gamma is third. Delta is fourth."]


@given(
    text=st.text(st.sampled_from(list("ab .!\n,。é")), max_size=300),
    size=st.integers(1, 12),
    data=st.data(),
)
def test_laws(text: str, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, max(0, (size - 1) // 2)))
    spans = tokens(text)
    found = passages(text, spans, Window(size, overlap))
    if len(spans) <= size:
        assert found == [(0, len(text))]
        return
    inside = [[index for index, (a, b) in enumerate(spans) if start <= a and b <= stop] for start, stop in found]
    assert sorted({index for own in inside for index in own}) == list(range(len(spans)))
    assert all(0 < len(own) <= size for own in inside)
    for before, after in pairwise(inside):
        assert after[0] > before[0]
        assert after[-1] > before[-1]
        assert len(set(before) & set(after)) <= overlap
