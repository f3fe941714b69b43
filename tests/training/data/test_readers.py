"""Files to rows: every bad line is told with its number, and `max_bad_rows` decides whether that is too much."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.training.data.export import write_rows
from trimtab.training.data.readers import read_rows
from trimtab.training.data.rows import KINDS, Preference, Response, Row, Turn
from trimtab.training.errors import DataError

GOOD = {"prompt": "Q", "completion": "A"}


def write(path: Path, *lines: Any) -> Path:
    """A file of lines; bytes stand as they are, everything else as JSON."""
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


BAD: dict[str, tuple[Any, str]] = {
    "no json": (b'{"prompt": "a"', "invalid JSON"),
    "nested": (b"[" * 100_000, "nested too deep"),
    "no utf-8": (b'{"prompt": "\xff"}', "invalid UTF-8 at byte 13"),
    "no object": ([1], "must hold an object, not a list"),
    "unknown form": ({"foo": 1}, "no known form; its columns are: foo"),
    "surrogate": ({"prompt": "a\ud800b", "completion": "c"}, "lone surrogate"),
    "empty completion": ({"prompt": "Q", "completion": " \n"}, "the response is empty"),
    "empty turns": ({"prompt": [], "completion": "A"}, "the prompt holds no turn"),
    "number": ({"prompt": "Q", "completion": 3}, "completion must be a string or a list of turns, not a number"),
    "content": ({"messages": [{"role": "user", "content": ["x"]}]}, "content of messages[0] must be a string, not a list"),
    "role": ({"messages": [{"role": "wizard", "content": "x"}]}, "has the role 'wizard'; known are system"),
    "tools": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [{}]}]},
        "tool_calls, which are not trained on",
    ),
    "last turn": (
        {"prompt": [{"role": "assistant", "content": "x"}], "completion": "y"},
        "the prompt's last turn must be the user's",
    ),
    "two forms": (
        {"prompt": "Q", "completion": [{"role": "assistant", "content": "y"}]},
        "is a list of turns, but the prompt is plain text",
    ),
    "completion of the user": (
        {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "user", "content": "y"}]},
        "must begin and end with a turn of the assistant",
    ),
    "equal pair": ({"prompt": "Q", "chosen": "a", "rejected": "a"}, "chosen and rejected are equal"),
    "no shared prompt": (
        {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]},
        "share no prompt",
    ),
    "plain implicit": ({"chosen": "a", "rejected": "b"}, "needs a prompt column"),
    "probability": ({"prompt": "Q", "chosen": "a", "rejected": "b", "p": 1.5}, "probability is 1.5"),
    "margin": (b'{"prompt": "Q", "chosen": "a", "rejected": "b", "margin": NaN}', "margin is nan; it must be finite"),
    "scores short": ({"query": "Q", "responses": ["a", "b"], "scores": [1]}, "scores holds 1 numbers for 2 responses"),
    "scores missing": ({"query": "Q", "responses": ["a", "b"]}, "scores is missing"),
    "score infinite": (b'{"query": "Q", "responses": ["a"], "scores": [Infinity]}', "scores[0] is inf; it must be finite"),
    "score a string": ({"prompt": "Q", "completion": "a", "score": "5"}, "score must be a number, not a string"),
    "label": ({"prompt": "Q", "completion": "a", "label": "yes"}, "label must be true or false, not a string"),
    "itself": (
        {"prompt": "Q", "responses": [{"content": "a"}, {"content": "b"}], "pref": [{"a": 1, "b": 1}]},
        "compares response 1 with itself",
    ),
    "out of range": ({"prompt": "Q", "responses": [{"content": "a"}], "pref": [{"a": 0, "b": 1}]}, "names response 1"),
    "typo": ({"prompt": "Q", "responses": [{"content": "a", "sorce": 1}]}, "unknown member 'sorce'"),
    "kind": ({"prompt": "Q", "responses": [{"content": "a", "kind": "best"}]}, "of the kind 'best'; known are sample"),
    "weight": ({"prompt": "Q", "completion": "a", "weight": -1}, "weight of the response is -1"),
    "stepwise": ({"prompt": "Q", "completions": ["a"], "labels": [True]}, "stepwise rows"),
    "prefixes": ({"prefix": ["a", "b"], "suffix": ["x", "y"], "reward": [1, 2]}, "prefix holds 2 different prompts"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_told_with_its_number_and_reason(name: str, tmp_path: Path) -> None:
    line, reason = BAD[name]
    path = write(tmp_path / "rows.jsonl", GOOD, b"", line, GOOD)
    read = read_rows(path, max_bad_rows=1)
    assert [row.line for row in read.rows] == [1, 4]
    assert [(bad.line, bad.file) for bad in read.bad] == [(3, "rows.jsonl")]
    assert reason in read.bad[0].reason
    with pytest.raises(DataError, match="1 bad of 3 rows, 0 allowed"):
        read_rows(path)


def test_the_first_ten_bad_lines_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", *[{"foo": 1}] * 12, GOOD)
    with pytest.raises(DataError) as caught:
        read_rows(path, max_bad_rows=11)
    told = str(caught.value)
    assert "12 bad of 13 rows, 11 allowed" in told
    assert "line 10: no known form" in told
    assert "line 11" not in told
    assert told.endswith("and 2 more")


@pytest.mark.parametrize("lines", [(), (b"", b"  ")])
def test_no_row_at_all(lines: tuple[bytes, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no row"):
        read_rows(write(tmp_path / "rows.jsonl", *lines))


def test_no_row_but_bad_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no row \(1 bad ones were left out, the first: rows.jsonl line 1"):
        read_rows(write(tmp_path / "rows.jsonl", {}), max_bad_rows=5)


def test_an_id_stands_for_one_row(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {**GOOD, "id": "x"}, {**GOOD, "id": "x"})
    assert read_rows(path, max_bad_rows=1).bad[0].reason == "the id 'x' is that of line 1"


def test_byte_order_mark(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path / "rows.jsonl", b"\xef\xbb\xbf" + json.dumps(GOOD).encode())).rows[0].prompt == "Q"


@given(bad=st.sets(st.integers(0, 14)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_line_numbers(bad: set[int], tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", *({"foo": 1} if place in bad else GOOD for place in range(16)))
    read = read_rows(path, max_bad_rows=15)
    assert [one.line for one in read.bad] == [place + 1 for place in sorted(bad)]
    assert [row.line for row in read.rows] == [place + 1 for place in range(16) if place not in bad]


numbers = st.floats(-1e6, 1e6)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
responses = st.builds(
    Response,
    texts,
    score=st.none() | numbers,
    rank=st.none() | st.integers(0, 9),
    label=st.none() | st.booleans(),
    kind=st.none() | st.sampled_from(KINDS),
    feedback=st.none() | texts,
    weight=st.floats(0, 10),
)
plain = texts.filter(lambda text: not text.startswith(("\n\nHuman:", "<|prompter|>")))


@st.composite
def rows(draw: st.DrawFn) -> Row:
    answers = draw(st.lists(responses, max_size=4, unique_by=lambda response: response.content))
    places = st.integers(0, len(answers) - 1)
    judged = st.builds(Preference, places, places, st.floats(0, 1), numbers).filter(lambda one: one.a != one.b)
    preferences = draw(st.lists(judged, max_size=3)) if len(answers) > 1 else []
    prompt = draw(plain | st.builds(lambda text: (Turn("system", text), Turn("user", text)), texts))
    return Row("some id", prompt, tuple(answers), tuple(preferences), line=1)


@given(row=rows())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_is_written_is_read_back(row: Row, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [row])
    assert read_rows(tmp_path / "rows.jsonl").rows == (row,)
