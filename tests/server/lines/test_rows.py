"""Outputs: what their rows settle, what a kill leaves, what is answered again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.lines.files import answered, rows_of
from trimtab.server.lines.answer import LineAnswer, refused
from trimtab.server.lines.errors import OutputRefused
from trimtab.server.lines.request import BadLine
from trimtab.server.lines.rows import RowWriter, is_passing, mend, read_rows

ANSWERS = [
    answered(1, "a"),
    answered(2, "b", 400),
    answered(3, "c", 503),
    refused(BadLine(4, None, "invalid_json_line", "no JSON")),
    LineAnswer(5, "e", 0, None, error={"code": "no_connection", "message": "nobody there"}),
    refused(BadLine(6, "a", "duplicate_custom_id", "twice", "custom_id")),
]


def written(path: Path) -> Path:
    with RowWriter(path) as writer:
        for answer in ANSWERS:
            writer.append(answer.row())
    return path


def test_rows_settle_lines_by_id_or_number(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path / "out.jsonl"))
    assert rows.ids == {"a", "b"}
    assert rows.numbers == {4, 6}
    assert rows.errors == 3  # b, line 4 and line 6
    assert len(rows.again) == 2  # c and e may pass
    assert "custom_id 'b': 400" in rows.faults[0]


def test_mending_takes_out_what_is_answered_again(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl")
    mend(path, read_rows(path))
    assert [row["custom_id"] for row in rows_of(path)] == ["a", "b", None, "a"]
    assert list(tmp_path.iterdir()) == [path]


@given(cut=st.integers(min_value=0))
def test_a_file_cut_anywhere_loses_only_its_last_row(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "out.jsonl"
    with RowWriter(path) as writer:
        for number in range(1, 4):
            writer.append(answered(number, f"é{number}").row())
    whole = path.read_bytes()
    left = whole[: cut % (len(whole) + 1)]
    path.write_bytes(left)
    rows = read_rows(path)
    mend(path, rows)
    assert path.read_bytes() == left[: left.rfind(b"\n") + 1]
    assert rows.ids == {f"é{number}" for number in range(1, left.count(b"\n") + 1)}


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "{}",
        '{"custom_id": "a", "response": null, "error": null}',
        '{"custom_id": "a", "response": null, "error": "the line broke"}',
        '{"custom_id": "a", "response": null, "error": {"line": "two"}}',
        '{"custom_id": "a", "response": {"status_code": "200"}, "error": null}',
        "\0\0",
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "out.jsonl")
    with path.open("a") as file:
        file.write(f"{text}\n")
    with pytest.raises(OutputRefused, match="line 7 is no row"):
        read_rows(path)


def test_a_full_disk_leaves_no_part_of_a_row(tmp_path: Path) -> None:
    import resource
    import signal

    path = tmp_path / "out.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with RowWriter(path) as writer:
            writer.append(answered(1, "a").row())
            kept = path.read_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 40, before[1]))
            with pytest.raises(OSError, match="large"):
                writer.append(answered(2, "b").row())
            assert path.read_bytes() == kept
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("status", "passes"),
    [(200, False), (400, False), (404, False), (408, True), (409, True), (413, False), (429, True), (500, True), (504, True)],
)
def test_what_may_pass(status: int, passes: bool) -> None:
    assert is_passing(status, None) is passes


def test_a_line_that_never_ran_may_pass_and_one_that_is_wrong_lasts() -> None:
    assert is_passing(0, {"code": "batch_expired", "message": ""})
    assert not is_passing(0, {"code": "invalid_url", "message": "", "line": 3})
