"""What a run was told, and the lock of its output."""

from pathlib import Path

import pytest

from trimtab.server.lines.errors import OutputRefused
from trimtab.server.lines.run_file import check_same, differences, locked, run_file, write_run

RUN = {"input_sha256": "ab", "alignment": ["norms", "rain"], "models": {"m": {"source": "m"}}}


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    write_run(tmp_path / "out.jsonl", RUN)
    check_same(tmp_path / "out.jsonl", RUN)


def test_another_run_is_told_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path / "out.jsonl", RUN)
    other = {**RUN, "alignment": "norms", "models": {"m": {"source": "n"}}}
    with pytest.raises(OutputRefused) as refused:
        check_same(tmp_path / "out.jsonl", other)
    assert 'alignment was ["norms", "rain"], now "norms"' in str(refused.value)
    assert 'models.m.source was "m", now "n"' in str(refused.value)
    assert "input_sha256" not in str(refused.value)


def test_an_output_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputRefused, match=r"out\.jsonl\.run\.json is missing"):
        check_same(tmp_path / "out.jsonl", RUN)
    run_file(tmp_path / "out.jsonl").write_text("{")
    with pytest.raises(OutputRefused, match="begins anew"):
        check_same(tmp_path / "out.jsonl", RUN)


def test_differences_name_places() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}, "d": 3}) == ["a.c was 2, now null", "d was null, now 3"]


def test_an_output_has_one_writer(tmp_path: Path) -> None:
    with locked(tmp_path / "out.jsonl"), pytest.raises(OutputRefused, match="another process"), locked(tmp_path / "out.jsonl"):
        pass
    with locked(tmp_path / "out.jsonl"):
        pass
