"""Records out of files and data sets, each with its line, read one by one. It knows no column.

FILE.jsonl, .ndjson   an object a line; .json: that, or one list of objects; each also with .gz behind
FILE.csv, .tsv        a header and rows; an empty cell is a missing value
DIR[@SPLIT]           a folder that `datasets` wrote (save_to_disk)
ID[:CONFIG][@SPLIT]   a data set of the hub, by `datasets`
"""

import csv
import gzip
import importlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import httpx2

from trimtab.server.errors import ServerError
from trimtab.server.evaluation.data.fields import named

SUFFIXES: Mapping[str, str] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": ",", ".tsv": "\t"}
"""How files may end, `.gz` aside, and how they are read: a format, or what sets cells apart."""
SPLITS = ("test", "validation")
"""What is read of a data set with several splits where none is named; the first that it has."""
_HUB_ID = re.compile(r"(?P<id>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.-]+))?(@(?P<split>[\w.-]+))?")


class DatasetError(ServerError):
    """A source of samples that cannot be used; the message says why and what to do."""

    code = "invalid_dataset"


@dataclass(frozen=True, slots=True)
class Read:
    """What stands in one line."""

    line: int
    """Line of its file where it begins, or place in its list or data set; from 1."""
    record: Mapping[str, Any] | None
    reason: str = ""
    """Why there is no record."""
    end: int = 0
    """Bytes of the file read so far."""
    cells: bool = False
    """Whether its values are texts of cells."""


def name_of(source: str) -> str:
    """What a log calls a source: the file's name without its folders, or the hub's id."""
    path = Path(source).expanduser()
    return path.resolve().name if path.exists() or path.is_absolute() else source


def reads(source: str) -> Iterator[Read]:
    """Every line of a source. Raises DatasetError, at once or on the way, where the source itself cannot be read."""
    path = Path(source).expanduser()
    if path.is_file():
        return _file(path)
    folder, _, split = source.partition("@")
    if Path(folder).expanduser().is_dir():
        return _saved(Path(folder).expanduser(), split)
    found = _HUB_ID.fullmatch(source)
    if found is None or _suffix(path) in SUFFIXES or source.startswith("."):
        raise DatasetError(f"{source}: no such file or folder")
    return _hub(source, found["id"], found["config"], found["split"] or "")


def _suffix(path: Path) -> str:
    """How the name ends, without .gz."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _file(path: Path) -> Iterator[Read]:
    form = SUFFIXES.get(_suffix(path))
    if form is None:
        raise DatasetError(f"{path}: the name tells no format; it must end in {', '.join(SUFFIXES)}, or in these and .gz")
    try:
        with _opened(path) as (file, reached):
            if form == "jsonl" or (form == "json" and not _is_list(file)):
                yield from _json_lines(file, reached)
            elif form == "json":
                yield from _json_list(path, file, reached)
            else:
                yield from _separated(path, file, form, reached)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """The file's bytes, unpacked, and how many bytes of the file itself are read."""
    with path.open("rb") as raw:
        if path.suffix.lower() != ".gz":
            yield raw, raw.tell
            return
        with gzip.open(raw) as unpacked:
            yield unpacked, raw.tell  # type: ignore[misc]


def _is_list(file: IO[bytes]) -> bool:
    first = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    return first.startswith(b"[")


def _json_lines(file: IO[bytes], reached: Callable[[], int]) -> Iterator[Read]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            yield Read(number, None, f"invalid UTF-8 at byte {error.start + 1}", reached())
        except RecursionError:
            yield Read(number, None, "invalid JSON: nested too deep", reached())
        except ValueError as error:
            yield Read(number, None, f"invalid JSON: {error}", reached())
        else:
            yield _object(number, value, reached())


def _json_list(path: Path, file: IO[bytes], reached: Callable[[], int]) -> Iterator[Read]:
    try:
        values = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: is no JSON list: {error}") from error
    for number, value in enumerate(values, 1):
        yield _object(number, value, reached())


def _object(number: int, value: Any, end: int) -> Read:
    if not isinstance(value, dict):
        return Read(number, None, f"must be an object, not {named(value)}", end)
    return Read(number, value, end=end)


def _separated(path: Path, file: IO[bytes], delimiter: str, reached: Callable[[], int]) -> Iterator[Read]:
    lines = (line.decode("utf-8-sig" if place == 0 else "utf-8", "surrogateescape") for place, line in enumerate(file))
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    header = [cell.strip() for cell in next(table, [])]
    if not any(header) or len(set(header)) < len(header):
        raise DatasetError(f"{path}: the first line must name the columns, each once; it is {', '.join(header) or 'empty'}")
    while True:
        number = table.line_num + 1
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            yield Read(number, None, f"invalid CSV: {error}", reached())
            continue
        if len(cells) > len(header):
            yield Read(number, None, f"holds {len(cells)} cells; the header names {len(header)}", reached())
        elif any(cell.strip() for cell in cells):
            filled = {column: cell for column, cell in zip(header, cells, strict=False) if cell.strip()}
            yield Read(number, filled, end=reached(), cells=True)


def _saved(path: Path, split: str) -> Iterator[Read]:
    if not any((path / name).exists() for name in ("dataset_dict.json", "dataset_info.json")):
        raise DatasetError(f"{path}: a folder that holds no saved data set; name one file of it")
    datasets = _library(str(path))
    try:
        held = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as a saved data set: {error}") from error
    return _numbered(str(path), held, split)


def _hub(source: str, name: str, config: str | None, split: str) -> Iterator[Read]:
    datasets = _library(source)
    failures = (OSError, ValueError, RuntimeError, httpx.HTTPError, httpx2.HTTPError, datasets.exceptions.DatasetsError)
    try:
        held = datasets.load_dataset(name, config)
    except failures as error:
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise DatasetError(
            f"{source}: no such file or folder here, and it could not be had from the hub: {first}. Ways round: give a local "
            "JSONL or CSV file, or the folder that save_to_disk wrote where there is a network; name the configuration and "
            "split (ID:CONFIG@SPLIT); set HF_TOKEN for gated data"
        ) from error
    return _numbered(source, held, split)


def _numbered(source: str, held: Any, split: str) -> Iterator[Read]:
    """The rows of a data set, or of one split of several."""
    if isinstance(held, dict):
        known = [split] if split else [*SPLITS, *(held if len(held) == 1 else ())]
        chosen = next((one for one in known if one in held), None)
        if chosen is None:
            raise DatasetError(f"{source}: name a split behind @; it has {', '.join(held)}")
        held = held[chosen]
    return (Read(number, record) for number, record in enumerate(held, 1))


def _library(source: str) -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise DatasetError(
            f"{source}: no such file here; data sets of `datasets` need that package: pip install 'trimtab[eval]'"
        ) from error
