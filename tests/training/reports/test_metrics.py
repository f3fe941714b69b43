import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.training.errors import DataError, OutputError
from trimtab.training.reports.metrics import MetricsFile, Scalar, read_metrics, rows_with, series


def training_row(step: int) -> dict[str, Scalar]:
    return {"step": step, "loss": 1 / (1 + step), "lr": 1e-5}


def written(path: Path, rows: list[dict[str, Scalar]]) -> MetricsFile:
    file = MetricsFile(path)
    for row in rows:
        file.append(row)
    return file


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    rows: list[dict[str, Scalar]] = [
        {"step": 0, "loss": 0.5, "note": "Grüße"},
        {"step": 1, "eval_loss": 0.25, "best": True},
    ]
    written(tmp_path / "new" / "metrics.jsonl", rows)
    assert read_metrics(tmp_path / "new" / "metrics.jsonl") == rows


def test_each_line_is_json_whatever_the_loss(tmp_path: Path) -> None:
    written(tmp_path / "m", [{"step": 1, "loss": math.nan}, {"step": 2, "loss": -math.inf}])
    assert [json.loads(line)["loss"] for line in (tmp_path / "m").read_text().splitlines()] == [None, None]


@given(cut=st.integers(0, 200))
def test_a_torn_line_is_neither_read_nor_kept(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "m"
    file = written(path, [training_row(step) for step in range(4)])
    path.write_bytes(path.read_bytes()[:cut])
    whole = path.read_bytes().count(b"\n")
    assert read_metrics(path) == [training_row(step) for step in range(whole)]
    file.append({"step": 9})
    assert read_metrics(path) == [*(training_row(step) for step in range(whole)), {"step": 9}]


def test_a_long_torn_line_is_cut_as_well(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b'{"step": 1}\n{"step": 2, "note": "' + b"x" * 10_000)
    MetricsFile(tmp_path / "m").append({"step": 2})
    assert (tmp_path / "m").read_bytes() == b'{"step": 1}\n{"step": 2}\n'


@given(st.integers(0, 8), st.integers(0, 8))
def test_resuming_twice_equals_once(tmp_path_factory: pytest.TempPathFactory, first: int, second: int) -> None:
    path = tmp_path_factory.mktemp("resume") / "m"
    rows = [training_row(step) for step in range(7)]
    file = written(path, rows)
    uninterrupted = path.read_bytes()
    for checkpoint in (first, second):
        assert file.resume_at(checkpoint) == len(rows[checkpoint + 1 :])
        assert file.resume_at(checkpoint) == 0
        written(path, rows[checkpoint + 1 :])
    assert path.read_bytes() == uninterrupted
    assert [entry.name for entry in path.parent.iterdir()] == ["m"]


def test_a_run_without_metrics_resumes(tmp_path: Path) -> None:
    assert MetricsFile(tmp_path / "m").resume_at(3) == 0


def test_a_disk_that_takes_no_more_loses_no_row(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    file = written(tmp_path / "m", [training_row(1)])
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "m").stat().st_size + 10, hard))
    try:
        with pytest.raises(OutputError, match="only 10 of"):
            file.append(training_row(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.append(training_row(3))
    assert read_metrics(tmp_path / "m") == [training_row(1), training_row(3)]


def test_what_cannot_be_written_or_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write metrics"):
        MetricsFile(tmp_path / "file" / "m").append({"step": 1})
    with pytest.raises(DataError, match="`step` must be an integer"):
        MetricsFile(tmp_path / "m").append({"loss": 1.0})
    with pytest.raises(DataError, match="cannot read metrics"):
        read_metrics(tmp_path / "none")
    (tmp_path / "m").write_text('{"step": 1}\n[]\n')
    with pytest.raises(DataError, match="line 2: no JSON object"):
        read_metrics(tmp_path / "m")
    (tmp_path / "m").write_text('{"step": \n{"step": 1}\n')
    with pytest.raises(DataError, match="line 1: no JSON"):
        read_metrics(tmp_path / "m")


def test_a_series_passes_over_what_is_missing() -> None:
    rows: list[dict[str, Scalar]] = [{"step": 1, "loss": 2}, {"step": 1, "eval_loss": 3.0}, {"step": 2, "loss": None}]
    assert series([*rows, {"step": 5, "loss": 1.5}], "loss") == ([1, 5], [2.0, 1.5])


def test_rows_that_hold_all_names() -> None:
    rows: list[dict[str, Scalar]] = [
        {"step": 1, "reward": 1.0},
        {"step": 2, "reward": 1.0, "kl": 0},
        {"step": 3, "kl": math.inf},
    ]
    assert rows_with(rows, "reward", "kl") == [rows[1]]
