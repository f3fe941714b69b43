"""Small files of samples, for tests."""

import gzip
import json
from pathlib import Path
from typing import Any

from trimtab.server.evaluation.data.datasets import SampleSet, read_samples
from trimtab.server.evaluation.samples import Sample


def jsonl(path: Path, *rows: Any) -> str:
    """A file of rows, an object a line; bytes stand as they are. Packed where its name ends in .gz."""
    data = b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def samples(folder: Path, *rows: Any) -> SampleSet:
    """What is read of rows."""
    return read_samples(jsonl(folder / "rows.jsonl", *rows))


def sample(folder: Path, row: Any) -> Sample:
    """The sample of one row."""
    found = samples(folder, row)
    assert not found.bad
    return found.samples[0]


def reason(folder: Path, row: Any) -> str:
    """Why a row makes no sample."""
    found = samples(folder, {"prompt": "Which month comes after May?", "id": "sound"}, row)
    assert [one.id for one in found.samples] == ["sound"]
    assert [one.line for one in found.bad] == [2]
    return found.bad[0].reason
