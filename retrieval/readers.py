"""Documents out of files, a record at a time. What cannot be read is told by line, and reading goes on.

jsonl  an object a line: `text` (or `prompt`), `id`?, `metadata`?; every other member (`answer`, `tags`) is metadata too
csv    a header with `text` (or `prompt`); `id`?; every other column is metadata; `tags` and `jurisdiction` are split at ";"
tsv    the same, with tabs
text   a paragraph is a document; paragraphs are set apart by empty lines

A record without an id is given one that follows from its text and answer. Files are UTF-8.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

from trimtab.retrieval.checked import content_id
from trimtab.retrieval.documents import Document
from trimtab.retrieval.errors import InvalidRecord

Given = TypeVar("Given")
Format = Literal["jsonl", "csv", "tsv", "text"]
SUFFIXES: Mapping[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".md": "text",
}
SEPARATED = ("tags", "jurisdiction")
"""Columns of CSV that hold several values."""


@dataclass(frozen=True, slots=True)
class Record:
    """A document of a file, or why there is none."""

    line: int
    """Where it begins, from 1."""
    end: int
    """Bytes of the file read so far."""
    document: Document | None
    error: str | None = None


def format_of(path: Path) -> Format:
    """What a file's name says of its format. Raises InvalidRecord."""
    known = SUFFIXES.get(path.suffix.lower())
    if known is None:
        raise InvalidRecord(f"{path.name}: the name tells no format; it may end in {', '.join(SUFFIXES)}, or name the format")
    return known


def read_records(file: BinaryIO, form: Format) -> Iterator[Record]:
    """Every record of a file that is open for reading bytes, good or bad, in order. Raises InvalidRecord for a bad header."""
    lines = _Lines(file)
    match form:
        case "jsonl":
            yield from _jsonl(lines)
        case "csv":
            yield from _separated(lines, ",")
        case "tsv":
            yield from _separated(lines, "\t")
        case "text":
            yield from _paragraphs(lines)


class _Lines(Iterator[str]):
    """Lines of a file, counted. Bytes that are no UTF-8 become lone surrogates, which no document may hold."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0
        self.end = 0

    def __next__(self) -> str:
        line = next(self._file)
        self.number += 1
        self.end += len(line)
        return line.decode("utf-8-sig" if self.number == 1 else "utf-8", "surrogateescape")


def _jsonl(lines: _Lines) -> Iterator[Record]:
    for line in lines:
        if line.strip():
            yield _record(lines, lines.number, _from_line, line)


def _from_line(line: str) -> Document:
    return _from_object(_parsed(line))


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except RecursionError:
        raise InvalidRecord("no JSON that can be read: nested too deep") from None
    except ValueError as error:
        raise InvalidRecord(f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRecord(f"a line must hold a JSON object, not {type(value).__name__}")
    return value


def _separated(lines: _Lines, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = next(reader, [])
    _check_header(header)
    while True:
        line = lines.number + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(line, lines.end, None, f"no CSV: {error}")
            continue
        if row:
            yield _record(lines, line, partial(_from_row, header), row)


def _check_header(header: list[str]) -> None:
    if not {"text", "prompt"} & set(header):
        raise InvalidRecord(f"the first line must name the columns, 'text' or 'prompt' among them; it names {header}")
    if len(set(header)) < len(header) or "" in header:
        raise InvalidRecord(f"the first line must name each column, once; it names {header}")


def _from_row(header: list[str], row: list[str]) -> Document:
    if len(row) != len(header):
        raise InvalidRecord(f"{len(row)} values for {len(header)} columns")
    members: dict[str, Any] = {name: value for name, value in zip(header, row, strict=True) if value.strip()}
    for name in SEPARATED:
        if name in members:
            members[name] = [part.strip() for part in members[name].split(";") if part.strip()]
    if "metadata" in members:
        raise InvalidRecord("a column cannot be called 'metadata': each column is metadata")
    return _from_object(members)


def _paragraphs(lines: _Lines) -> Iterator[Record]:
    paragraph: list[str] = []
    for line in lines:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield _record(lines, lines.number - len(paragraph), _from_paragraph, paragraph)
            paragraph = []
    if paragraph:
        yield _record(lines, lines.number - len(paragraph) + 1, _from_paragraph, paragraph)


def _from_paragraph(paragraph: list[str]) -> Document:
    return _from_object({"text": "".join(paragraph).strip()})


def _from_object(members: dict[str, Any]) -> Document:
    given = dict(members)
    texts = [given.pop(name) for name in ("text", "prompt") if name in given]
    if len(texts) != 1:
        raise InvalidRecord("a record needs 'text' or 'prompt'" + (", not both" if texts else ""))
    metadata = given.pop("metadata", None) or {}
    if not isinstance(metadata, dict):
        raise InvalidRecord(f"metadata must be an object, not {type(metadata).__name__}")
    name = given.pop("id", None)
    if twice := sorted(set(metadata) & set(given)):
        raise InvalidRecord(f"{twice[0]!r} is given in the metadata and beside it")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    merged = metadata | given
    return Document(content_id(texts[0], merged.get("answer")) if name is None else name, texts[0], merged)


def _record(lines: _Lines, line: int, make: Callable[[Given], Document], given: Given) -> Record:
    try:
        return Record(line, lines.end, make(given))
    except InvalidRecord as error:
        return Record(line, lines.end, None, str(error))
