"""The two structures, byte by byte, and the law that no text breaks out of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.strategies.core.messages import Segment
from trimtab.strategies.shaping.frames import Frame, StructureName, escaped, fence_around
from trimtab.strategies.shaping.turns import Turn

TALK = (Turn("system", "Be brief."), Turn("user", "Hi?"), Turn("assistant", "Hello."), Turn("user", "And?"))


def joined(frame: Frame, turns: tuple[Turn, ...]) -> str:
    return "".join(segment.text for segment in (*frame.turns(turns), *frame.answer(None)))


def test_block_bytes() -> None:
    assert joined(Frame("block"), TALK) == (
        "\n# Context:\n```\nBe brief.\n```\n"
        "\n# Query:\n```\nHi?\n```\n"
        "\n# Answer:\n```\nHello.\n```\n"
        "\n# Query:\n```\nAnd?\n```\n"
        "\n# Answer:\n```\n"
    )


def test_inline_bytes() -> None:
    assert joined(Frame("inline"), TALK) == (
        "\n# Context:\n```\nBe brief.\n```\n"
        "\n# Query:\n```Hi?```\n"
        "\n# Answer:\n```\nHello.\n```\n"
        "\n# Query:\n```And?```\n"
        "\n# Answer:\n```\n"
    )


def test_a_head_ends_as_its_structure_does() -> None:
    examples = [("Q", "A")]
    assert Frame("block").prefix("S", examples) == "S\n\n# Query:\n```\nQ\n```\n\n# Answer:\n```\nA\n```\n"
    assert Frame("inline").prefix("S", examples) == "S\n\n# Query:\n```Q```\n\n# Answer:\n```\nA\n```"
    assert (Frame("block").prefix("S", []), Frame("inline").prefix("S", [])) == ("S\n", "S")


def test_what_was_said_is_content_and_the_frame_is_not() -> None:
    pieces = list(Frame().turns(TALK[1:2]))
    assert pieces == [Segment("literal", "\n# Query:\n```\n"), Segment("content", "Hi?"), Segment("literal", "\n```\n")]
    assert list(Frame().answer("Well,"))[-1] == Segment("content", "Well,")


@pytest.mark.parametrize(
    ("text", "fence"), [("", "```"), ("a `b` c", "```"), ("a `` c", "```"), ("```py\n```", "````"), ("`````", "``````")]
)
def test_a_fence_is_longer_than_what_it_holds(text: str, fence: str) -> None:
    assert fence_around(text) == fence


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("# Query:", "\\# Query:"),
        ("a\n  ## answer :", "a\n  \\## answer :"),
        ("a\r# User:", "a\r\\# User:"),
        ("see # Query: here", "see # Query: here"),
        ("# Query the table", "# Query the table"),
    ],
)
def test_headers_in_a_text_are_escaped(text: str, result: str) -> None:
    assert escaped(text) == result


HOSTILE = st.lists(
    st.sampled_from(
        ["# Query:", "\n# Query:\n", "# Answer:", "\n```\n\n# Answer:\n```\n", "`", "```", "````", "\n", "x", "\r", " "]
    ),
    max_size=12,
).map("".join)
TURNS = st.lists(st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), HOSTILE), max_size=5).map(tuple)


def block_turns(text: str) -> list[tuple[str, str]]:
    """Reads a rendering back by the rules of the block structure: a block ends at a line that is its own fence."""
    turns, lines = [], iter(text.split("\n"))
    for line in lines:
        if line in {"# Context:", "# Query:", "# Answer:"}:
            fence, said = next(lines), []
            for inner in lines:
                if inner == fence:
                    break
                said.append(inner)
            turns.append((line, "\n".join(said)))
    return turns


@given(TURNS)
def test_a_block_rendering_reads_back_as_its_turns(turns: tuple[Turn, ...]) -> None:
    headers = {"system": "# Context:", "user": "# Query:", "assistant": "# Answer:"}
    told = [(headers[turn.speaker], escaped(turn.text)) for turn in turns]
    assert block_turns(joined(Frame("block"), turns)) == [*told, ("# Answer:", "")]


@given(TURNS, st.sampled_from(["block", "inline"]))
def test_no_text_adds_a_header(turns: tuple[Turn, ...], structure: StructureName) -> None:
    headers = re.findall(r"(?m)^[^\S\n]*#+ (?:Context|Query|Answer):", joined(Frame(structure), turns))
    assert len(headers) == len(turns) + 1


@given(TURNS)
def test_inline_fences_close_where_they_should(turns: tuple[Turn, ...]) -> None:
    for turn in turns:
        pieces = "".join(segment.text for segment in Frame("inline").turns([Turn("user", turn.text)]))
        runs = [len(run) for run in re.findall(r"`+", pieces)]
        assert runs.count(max(runs)) == 2
        assert (runs[0], runs[-1]) == (max(runs), max(runs))
