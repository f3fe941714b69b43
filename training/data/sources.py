"""Records out of files, folders, data sets and the hub, each with its line, read one by one. It knows no column.

JSONL needs nothing but the standard library; Parquet, saved data sets and the hub need the extra `trimtab[train]`.
"""

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import httpx2

from trimtab.training.data.fields import named
from trimtab.training.errors import DataError

JSON_LINES: Final = frozenset({".jsonl", ".ndjson", ".json"})
PARQUET: Final = ".parquet"
_HUB_ID: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
_FIRST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Read:
    """What stands in one line."""

    line: int
    """Line of its file, or place in its data set, from 1."""
    record: Mapping[str, Any] | None
    reason: str = ""
    """Why there is no record."""
    file: str = ""


def records(source: str | Path, split: str) -> Iterator[Read]:
    """Every line of a source. Raises DataError where the source itself cannot be read.

    source: a JSONL or Parquet file, a folder of them, a folder written by `datasets`' save_to_disk, or a hub id.
    split: which part of a folder or data set; of no meaning to a single file.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, split)
    if path.is_file():
        return _file(path)
    if path.suffix in {*JSON_LINES, PARQUET} or not _HUB_ID.fullmatch(str(source)) or str(source).startswith("."):
        raise DataError(f"{source}: no such file or folder")
    return _hub(str(source), split)


def _file(path: Path) -> Iterator[Read]:
    if path.suffix == PARQUET:
        return _parquet(path)
    if path.suffix in JSON_LINES:
        return _json_lines(path)
    raise DataError(f"{path}: the name tells no format; it must end in {', '.join(sorted({*JSON_LINES, PARQUET}))}")


def _json_lines(path: Path) -> Iterator[Read]:
    try:
        with path.open("rb") as file:
            if path.suffix == ".json" and file.read(_FIRST_BYTES).lstrip().startswith(b"["):
                raise DataError(f"{path}: one JSON array; write one object a line (jq -c '.[]' does)")
            file.seek(0)
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parsed(number, line, path.name)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parsed(number: int, line: bytes, file: str) -> Read:
    try:
        value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return Read(number, None, f"invalid UTF-8 at byte {error.start + 1}", file)
    except RecursionError:
        return Read(number, None, "invalid JSON: nested too deep", file)
    except ValueError as error:
        return Read(number, None, f"invalid JSON: {error}", file)
    if not isinstance(value, dict):
        return Read(number, None, f"a line must hold an object, not {named(value)}", file)
    return Read(number, value, file=file)


def _parquet(path: Path) -> Iterator[Read]:
    parquet = _imported("pyarrow.parquet", str(path))
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    for number, record in enumerate(table.to_pylist(), 1):
        yield Read(number, record, file=path.name)


def _folder(path: Path, split: str) -> Iterator[Read]:
    if any((path / name).exists() for name in ("dataset_dict.json", "dataset_info.json")):
        return _saved(path, split)
    files = sorted(file for file in path.rglob("*") if file.suffix in {*JSON_LINES, PARQUET} and file.is_file())
    chosen = [file for file in files if file.stem == split or re.match(rf"{re.escape(split)}[-_.]", file.stem)]
    if not chosen and split == "train" and len(files) == 1:
        chosen = files
    if not chosen:
        found = ", ".join(str(file.relative_to(path)) for file in files[:10]) or "none"
        raise DataError(f"{path}: no file for the split {split!r} (named {split}.jsonl, {split}-*.parquet); files: {found}")
    return (read for file in chosen for read in _file(file))


def _saved(path: Path, split: str) -> Iterator[Read]:
    datasets = _imported("datasets", str(path))
    try:
        held = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a saved data set: {error}") from error
    if isinstance(held, dict):
        if split not in held:
            raise DataError(f"{path}: no split {split!r}; it has {', '.join(held)}")
        held = held[split]
    return _numbered(held, path.name)


def _hub(name: str, split: str) -> Iterator[Read]:
    datasets = _imported("datasets", name)
    failures = (OSError, ValueError, RuntimeError, httpx.HTTPError, httpx2.HTTPError, datasets.exceptions.DatasetsError)
    try:
        held = datasets.load_dataset(name, split=split)
    except failures as error:
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"{name}: no such file or folder here, and the split {split!r} could not be had from the hub: {first}. Ways round: "
            "give a local JSONL or Parquet file; download the data where there is a network and give the folder that "
            "save_to_disk wrote; set HF_TOKEN for gated data, HF_ENDPOINT for a mirror"
        ) from error
    return _numbered(held, name)


def _numbered(held: Any, file: str) -> Iterator[Read]:
    for number, record in enumerate(held, 1):
        yield Read(number, record, file=file)


def _imported(module: str, source: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f"{source}: needs the package {module.split('.')[0]}; pip install 'trimtab[train]'") from error
