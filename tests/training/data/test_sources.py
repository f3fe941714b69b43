"""Where rows come from: folders, Parquet, saved data sets and the hub."""

import json
import sys
from pathlib import Path

import datasets
import pytest

from trimtab.training.data.readers import read_rows
from trimtab.training.errors import DataError

ROWS = [
    {"prompt": [{"role": "user", "content": "Q"}], "completion": "A", "label": None},
    {"prompt": [{"role": "user", "content": "R"}], "completion": "B", "label": True},
]


def write(path: Path) -> None:
    """The rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in ROWS))


def test_a_parquet_file_and_a_saved_data_set_hold_the_same_rows_as_jsonl(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl")
    held = datasets.Dataset.from_list(ROWS)
    held.to_parquet(tmp_path / "rows.parquet")
    held.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": held, "test": held.select([1])}).save_to_disk(tmp_path / "parts")
    expected = read_rows(tmp_path / "rows.jsonl").rows
    assert len(expected) == 2
    for source in ("rows.parquet", "one", "parts"):
        assert read_rows(tmp_path / source).rows == expected
    assert [row.prompt for row in read_rows(tmp_path / "parts", split="test").rows] == [expected[1].prompt]
    with pytest.raises(DataError, match="no split 'dev'; it has train, test"):
        read_rows(tmp_path / "parts", split="dev")


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    for name in ("data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/test.jsonl"):
        write(tmp_path / name)
    assert len(read_rows(tmp_path).rows) == 4
    assert len(read_rows(tmp_path, split="test").rows) == 2
    with pytest.raises(DataError, match=r"no file for the split 'dev'.*files: data/test.jsonl"):
        read_rows(tmp_path, split="dev")


def test_a_single_file_needs_no_name(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl")
    assert len(read_rows(tmp_path).rows) == 2


def test_what_is_not_there_and_what_is_no_jsonl(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        read_rows(tmp_path / "missing.jsonl")
    (tmp_path / "rows.csv").write_text("a,b")
    with pytest.raises(DataError, match="the name tells no format"):
        read_rows(tmp_path / "rows.csv")
    (tmp_path / "rows.json").write_text("[{}]")
    with pytest.raises(DataError, match="one JSON array; write one object a line"):
        read_rows(tmp_path / "rows.json")
    (tmp_path / "rows.parquet").write_text("nonsense")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_rows(tmp_path / "rows.parquet")


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"nobody/nothing.*could not be had from the hub.*Ways round: give a local JSONL"):
        read_rows("nobody/nothing")


def test_without_the_extra_jsonl_is_read_and_the_rest_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "rows.jsonl")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert len(read_rows(tmp_path / "rows.jsonl").rows) == 2
    with pytest.raises(DataError, match=r"needs the package datasets; pip install 'trimtab\[train\]'"):
        read_rows("nobody/nothing")
