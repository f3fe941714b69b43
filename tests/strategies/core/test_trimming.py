"""Trimmed answers: the closing fence gone from the end, kept in the middle, and the same for every cut of the stream."""

import itertools
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.strategies.core.messages import Delta, Usage
from trimtab.strategies.core.trimming import TrimmedAnswer, trimmed

CODE = "Use this:\n```python\nprint(1)\n```"


def taken(pieces: list[str], *, cut: bool = False, fenced: bool = True) -> str:
    fence = TrimmedAnswer(fenced)
    return "".join([*map(fence.push, pieces), fence.finish(cut=cut)])


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("x\n```\n", "x"),
        ("x\n```\n\n", "x"),
        ("x\n\n  ```", "x"),
        ("x\n````\n", "x"),
        ("```\n", ""),
        ("x", "x"),
        ("x\n", "x"),
        (" \n x", "x"),
        ("x ```", "x ```"),
        ("x\n``", "x\n``"),
        ("x\n```python", "x\n```python"),
        (f"{CODE}\n```\n", CODE),
        (f"{CODE}\n", CODE),
        (f"{CODE}\nDone.\n```", f"{CODE}\nDone."),
        ("Run\n```\nls\n```\nnow.\n```\n", "Run\n```\nls\n```\nnow."),
        ("````\n```\n````\n```", "````\n```\n````"),
    ],
)
def test_what_is_shown(answer: str, shown: str) -> None:
    assert taken([answer]) == shown


def test_an_answer_cut_by_a_limit_keeps_its_last_space() -> None:
    assert taken(["one "], cut=True) == "one "
    assert taken(["one\n```\n"], cut=True) == "one"


def test_without_fences_only_whitespace_goes() -> None:
    assert taken([" x\n```\n"], fenced=False) == "x\n```"
    assert taken([" ", "\nx y", " "], fenced=False) == "x y"


def test_text_is_not_held_back_longer_than_needed() -> None:
    fence = TrimmedAnswer()
    assert fence.push("one two") == "one two"
    assert fence.push("\n") == ""
    assert fence.push("``") == ""
    assert fence.push("`") == ""
    assert fence.push("c") == "\n```c"


FENCED = st.lists(st.sampled_from(["a", " ", "\n", "`", "```", "\n```\n", "```py\n", "````"]), max_size=24).map("".join)


@given(FENCED, st.lists(st.integers(0, 60), max_size=8), st.booleans())
def test_every_cut_of_the_stream_gives_the_same_text(answer: str, places: list[int], cut: bool) -> None:
    edges = sorted({0, len(answer), *(place for place in places if place <= len(answer))})
    pieces = [answer[start:end] for start, end in itertools.pairwise(edges)]
    assert taken(pieces, cut=cut) == taken(list(answer), cut=cut)


@given(FENCED)
def test_nothing_but_space_and_one_fence_is_taken(answer: str) -> None:
    shown = taken([answer])
    begun = answer.lstrip()
    assert begun.startswith(shown)
    assert not begun[len(shown) :].strip().strip("`")


@given(st.text(alphabet="ab \n", max_size=30))
def test_an_answer_without_fences_stays_to_its_last_word(answer: str) -> None:
    assert taken([answer, "\n```\n"]) == taken([answer], fenced=False) == answer.strip()


async def test_choices_have_fences_of_their_own() -> None:
    async def stream() -> AsyncGenerator[Delta, None]:
        yield Delta(0, "a\n")
        yield Delta(1, "b\n```py\n", token_ids=(7,))
        yield Delta(0, "```", "stop", token_ids=(8,))
        yield Delta(1, "c\n```", "stop")
        yield Delta(usage=Usage(1, 2))

    deltas = [delta async for delta in trimmed(stream(), "fenced")]
    assert "".join(d.text for d in deltas if d.index == 0) == "a"
    assert "".join(d.text for d in deltas if d.index == 1) == "b\n```py\nc\n```"
    assert [d.token_ids for d in deltas if d.token_ids] == [(7,), (8,)]
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["stop", "stop"]
    assert deltas[-1].usage == Usage(1, 2)


async def test_a_raw_answer_is_left_alone() -> None:
    async def stream() -> AsyncGenerator[Delta, None]:
        yield Delta(0, " a\n```\n", "stop")

    assert [delta.text async for delta in trimmed(stream(), "raw")] == [" a\n```\n"]
