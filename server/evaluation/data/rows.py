"""Samples as rows of our own form: what a file of samples holds, and what a data set's hash is of."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trimtab.server.evaluation.samples import Sample


def row_of(sample: Sample) -> dict[str, Any]:
    """The row from which the same sample is read again; what a sample does not have is left out."""
    row: dict[str, Any] = {"id": sample.id, **content_of(sample)}
    return {key: value for key, value in row.items() if key != "id" or value}


def content_of(sample: Sample) -> dict[str, Any]:
    """The row without its id."""
    found = {
        "prompt": [dict(turn) for turn in sample.messages],
        "category": sample.category,
        "chosen": sample.chosen,
        "rejected": sample.rejected,
        "good": list(sample.good),
        "bad": list(sample.bad),
        "choices": list(sample.choices),
        "answer": list(sample.correct),
        "refuse": sample.refuse,
        "extra": dict(sample.extra),
    }
    return {key: value for key, value in found.items() if value is False or value}


def canonical(value: Any) -> bytes:
    """JSON that equal values have alike: keys in order, no spaces, UTF-8."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def content_id(sample: Sample) -> str:
    """A name that follows from the content, 16 hexadecimal digits."""
    return hashlib.sha256(canonical(content_of(sample))).hexdigest()[:16]


def hash_of(samples: Iterable[Sample]) -> str:
    """SHA-256 of the rows in canonical JSON, a line each."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(canonical(row_of(sample)) + b"\n")
    return digest.hexdigest()


def write_rows(path: Path, samples: Iterable[Sample]) -> None:
    """Writes samples as JSONL; the file is there whole or not at all. Raises OSError."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for sample in samples:
                file.write(json.dumps(row_of(sample), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """What new files may not be; it can only be read by being set."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
