"""Where samples come from: JSONL, JSON, CSV, packed files, saved data sets, the hub."""

import gzip
import json
import sys
from pathlib import Path

import datasets
import pytest

from tests.server.evaluation.data.data_files import jsonl
from trimtab.server.evaluation.data.datasets import read_samples
from trimtab.server.evaluation.data.sources import DatasetError

ROWS = [{"prompt": "What has keys?", "good": ["A piano"]}, {"prompt": "What has hands?", "good": ["A clock", "A person"]}]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "rows.json", "rows.jsonl.gz", "list.json", "list.json.gz"])
def test_a_file_of_json(tmp_path: Path, name: str) -> None:
    expected = read_samples(jsonl(tmp_path / "expected.jsonl", *ROWS)).samples
    path = jsonl(tmp_path / name, *([json.dumps(ROWS).encode()] if name.startswith("list") else ROWS))
    found = read_samples(path)
    assert (found.samples, found.bad, found.name) == (expected, (), name)


def test_the_byte_order_mark_of_an_editor_is_left_out(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", b"\xef\xbb\xbf" + json.dumps(ROWS[0]).encode())
    assert read_samples(path).samples[0].prompt == "What has keys?"
    (tmp_path / "rows.csv").write_text("prompt\nWhat has keys?\n", encoding="utf-8-sig")
    assert read_samples(str(tmp_path / "rows.csv")).samples[0].prompt == "What has keys?"


def test_a_list_tells_places(tmp_path: Path) -> None:
    found = read_samples(jsonl(tmp_path / "rows.json", json.dumps([ROWS[0], 3, ROWS[1]]).encode()))
    assert [str(bad) for bad in found.bad] == ["line 2: must be an object, not a number"]


CSV = """\
prompt,good,bad,refuse,id,choices,answer
"What has
keys?",A piano; A map,"[""A lock; a bolt""]",no,k1,,
,,,,,,
What has hands?,A clock,,,,Clock;Cup,A
too,many,cells,no,k2,,,more
What has hands?,A clock,,,k1,,
"""


def test_a_table(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    found = read_samples(str(tmp_path / "rows.csv"))
    keys, hands = found.samples
    assert (keys.prompt, keys.good, keys.bad) == ("What has\nkeys?", ("A piano", "A map"), ("A lock; a bolt",))
    assert (keys.refuse, keys.id, hands.refuse, hands.choices, hands.correct) == (False, "k1", None, ("Clock", "Cup"), (0,))
    assert [str(bad) for bad in found.bad] == [
        "line 6: holds 8 cells; the header names 7",
        "line 7: the id 'k1' is that of line 2 too",
    ]


def test_a_table_with_other_names(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("Question\tRight\nWhat has keys?\tA piano; A map\n")
    found = read_samples(str(tmp_path / "rows.tsv"), columns={"prompt": "Question", "good": "Right"}).samples[0]
    assert (found.prompt, found.good) == ("What has keys?", ("A piano", "A map"))


def test_a_table_that_breaks_off_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'prompt\nfine\nno \xff text\n"never closed\n')
    found = read_samples(str(tmp_path / "rows.csv"))
    assert [one.prompt for one in found.samples] == ["fine"]
    assert [one.line for one in found.bad] == [3, 4]
    assert "lone surrogate" in found.bad[0].reason
    assert "invalid CSV" in found.bad[1].reason


def test_saved_data_sets(tmp_path: Path) -> None:
    held = datasets.Dataset.from_list(ROWS)
    held.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": held, "test": held.select([1])}).save_to_disk(tmp_path / "parts")
    datasets.DatasetDict({"dev": held, "train": held}).save_to_disk(tmp_path / "odd")
    expected = read_samples(jsonl(tmp_path / "expected.jsonl", *ROWS)).samples
    assert read_samples(str(tmp_path / "one")).samples == expected
    assert read_samples(str(tmp_path / "one")).name == "one"
    assert read_samples(str(tmp_path / "parts")).samples == expected[1:]
    assert read_samples(f"{tmp_path / 'parts'}@train").samples == expected
    with pytest.raises(DatasetError, match="name a split behind @; it has dev, train"):
        read_samples(str(tmp_path / "odd"))
    with pytest.raises(DatasetError, match="it has train, test"):
        read_samples(f"{tmp_path / 'parts'}@validation")


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        DatasetError, match=r"nobody/nothing:main@test.*could not be had from the hub.*Ways round: give a local"
    ):
        read_samples("nobody/nothing:main@test")


def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match=r"pip install 'trimtab\[eval\]'"):
        read_samples("nobody/nothing")
    assert read_samples(jsonl(tmp_path / "rows.jsonl", *ROWS)).available == 2  # files need none


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows.txt").write_text("x")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "list.json").write_text('[{"prompt": ')
    (tmp_path / "twice.csv").write_text("prompt,prompt\nx,y\n")
    (tmp_path / "plain.jsonl.gz").write_text("not packed")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "x"}' * 500)[:-20])
    expected = {
        "missing.jsonl": "no such file or folder",
        "folder": "holds no saved data set",
        "rows.txt": "the name tells no format; it must end in .jsonl",
        "empty.jsonl": "holds no row",
        "list.json": "is no JSON list",
        "twice.csv": "must name the columns, each once; it is prompt, prompt",
        "plain.jsonl.gz": "cannot be read: Not a gzipped file",
        "cut.jsonl.gz": "cannot be read",
    }
    for name, message in expected.items():
        with pytest.raises(DatasetError) as error:
            read_samples(str(tmp_path / name))
        assert message in str(error.value)
        assert name in str(error.value)
