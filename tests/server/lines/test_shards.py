"""Shards and surveys: every line in one shard, and no finished file taken for an unfinished one or the other way round."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.lines.files import answered, request, write_lines
from trimtab.server.lines.answer import refused
from trimtab.server.lines.offline import missing_lines
from trimtab.server.lines.request import BadLine
from trimtab.server.lines.rows import Rows, RowWriter, read_rows
from trimtab.server.lines.shards import Shard, custom_id_of, survey

WRONG = [
    "no json",
    "",
    "   ",
    json.dumps({"custom_id": 7}),
    json.dumps({**request("a"), "method": "GET"}),
    json.dumps({**request("b"), "url": "/v1/else"}),
    '{"custom_id": "c", "custom_id": "d"}',
    '{"custom_id": "a", "body": NaN}',
    json.dumps({**request("x" * 300)}),
    "[1]",
]


@given(number=st.integers(1, 10**6), count=st.integers(1, 50))
def test_each_line_is_in_one_shard(number: int, count: int) -> None:
    assert sum(Shard(index, count).holds(number) for index in range(count)) == 1


def test_a_shard_is_read_as_it_is_written() -> None:
    assert Shard.parse("3/4") == Shard(3, 4)
    assert str(Shard(3, 4)) == "3/4"


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/2", "1/0", "0/0", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 0 to N-1"):
        Shard.parse(text)


def settled(path: Path, lines: list[Any]) -> Rows:
    """The rows of a run that answered these lines."""
    with RowWriter(path) as writer:
        for line in lines:
            writer.append((refused(line) if isinstance(line, BadLine) else answered(line.number, line.custom_id)).row())
    return read_rows(path)


LINES = st.lists(
    st.one_of(st.sampled_from(WRONG), st.sampled_from("abcd").map(lambda name: json.dumps(request(name)))), max_size=10
)


@given(lines=LINES, kept=st.sets(st.integers(0, 9)), count=st.integers(1, 3))
def test_a_survey_calls_finished_what_is_finished(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], kept: set[int], count: int
) -> None:
    # Whatever part of the rows is there: no line is missing by the survey only where none is by the exact rule, and with all
    # rows there the exact rule leaves none.
    folder = tmp_path_factory.mktemp("survey")
    source = write_lines(folder / "in.jsonl", lines)
    shard = Shard(0, count)
    every = list(missing_lines(source, shard, Rows()))
    rows = settled(folder / "out.jsonl", [line for place, line in enumerate(every) if place in kept])
    left = list(missing_lines(source, shard, rows))
    assert [line.number for line in left] == [line.number for place, line in enumerate(every) if place not in kept]
    found = survey(source, shard, rows)
    assert found.lines == len(every)
    if found.missing == 0:
        assert not left


def test_ordinary_lines_are_surveyed_exactly(tmp_path: Path) -> None:
    lines: list[Any] = [request(f"r{number}") for number in range(10)]
    lines += ["no json", request("r3"), {**request("bad"), "method": "PUT"}]
    source = write_lines(tmp_path / "in.jsonl", lines)
    every = list(missing_lines(source, Shard(), Rows()))
    assert survey(source, Shard()).missing == 13
    assert survey(source, Shard(), settled(tmp_path / "all.jsonl", every)).missing == 0
    assert survey(source, Shard(), settled(tmp_path / "some.jsonl", every[:4])).missing == 9


@pytest.mark.parametrize(
    ("raw", "found"),
    [(b'{"custom_id": "\\u00e9"}', "é"), (b'\xef\xbb\xbf{"custom_id": "a"}', "a"), (b"{", None), (b'{"custom_id": 1}', None)],
)
def test_the_id_of_a_line(raw: bytes, found: str | None) -> None:
    assert custom_id_of(raw, 1) == found
