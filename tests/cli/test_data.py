"""`trimtab data convert`."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from trimtab.cli.app import app
from trimtab.server.evaluation.data.datasets import read_samples

ROWS = [
    {"chosen": f"\n\nHuman: Is {i} even?\n\nAssistant: Let me see.", "rejected": f"\n\nHuman: Is {i} even?\n\nAssistant: Pass."}
    for i in range(9)
]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A packed file of nine pairs and a broken one."""
    path = tmp_path / "train.jsonl.gz"
    rows = [*ROWS, {"chosen": "\n\nHuman: Hm?", "rejected": "\n\nHuman: Hm?"}]
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def convert(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", "convert", *arguments])


def test_a_packed_file_becomes_a_file_of_the_evaluation(published: Path, tmp_path: Path) -> None:
    done = convert("hh", str(published), "-o", str(tmp_path / "out.jsonl"))
    assert done.exit_code == 0
    assert "out.jsonl: 9 samples, 1 line left out" in done.stdout
    assert "train.jsonl.gz:10: chosen must end with a turn of the assistant" in done.stderr
    written, direct = read_samples(str(tmp_path / "out.jsonl")), read_samples(str(published))
    assert (written.samples, written.sha256, written.bad) == (direct.samples, direct.sha256, ())
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first == {
        "id": written.samples[0].id,
        "prompt": [{"role": "user", "content": "Is 0 even?"}],
        "chosen": "Let me see.",
        "rejected": "Pass.",
    }


def test_a_part_is_the_same_each_time(published: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = convert("hh", str(published), "-o", str(tmp_path / name), "--limit", "4", "--seed", str(seed))
        assert "4 of 9 samples" in done.stdout
    a, b, c = ((tmp_path / name).read_text() for name in "abc")
    assert a == b != c


def test_an_output_that_is_there_is_kept_unless_told_otherwise(published: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    refused = convert("hh", str(published), "-o", str(output))
    assert (refused.exit_code, output.read_text()) == (2, "mine")
    assert "--overwrite replaces it" in refused.stderr
    assert convert("hh", str(published), "-o", str(output), "--overwrite").exit_code == 0
    assert len(read_samples(str(output)).samples) == 9


def test_a_failure_leaves_nothing_behind(published: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    failed = convert("realtoxicity", str(published), "-o", str(tmp_path / "out.jsonl"))
    assert failed.exit_code == 2
    assert "no row of RealToxicityPrompts" in failed.stderr
    assert convert("hh", str(tmp_path / "missing.jsonl"), "-o", str(tmp_path / "out.jsonl")).exit_code == 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_is_missing_and_a_form_that_is_unknown(published: Path, tmp_path: Path) -> None:
    missing = convert("hh", str(published), "-o", str(tmp_path / "no" / "out.jsonl"))
    assert missing.exit_code == 2
    assert "there is no folder" in missing.stderr
    unknown = convert("hhh", str(published), "-o", str(tmp_path / "out.jsonl"))
    assert unknown.exit_code == 2
    assert "hh" in unknown.stderr
