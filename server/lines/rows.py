"""The output file of a run: which lines its rows settle, its repair after a kill, and the writing of rows.

A row is appended in one piece before the next, so a killed run leaves at most its last row torn. Rows of failures that may pass
(`is_passing`) are written too, and answered again where a run is resumed. Imports nothing heavy: a finished run is recognised
in a moment.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jiter

from trimtab.server.lines.errors import OutputRefused

MOST_SHOWN = 3
"""Faults that are kept to be shown."""


def is_passing(status: int, error: Mapping[str, Any] | None) -> bool:
    """Whether the same request may be answered another time: it met nobody, 408, 409, 429 or 5xx.

    error: of a row without a status; one that names its line is about the line itself and lasts.
    """
    if not status:
        return error is not None and "line" not in error
    return status in {408, 409, 429} or status >= 500


@dataclass(slots=True)
class Rows:
    """What the rows of an output say."""

    ids: set[str] = field(default_factory=set)
    """custom_ids of requests that are settled."""
    numbers: set[int] = field(default_factory=set)
    """Lines that are no requests, settled by their number."""
    errors: int = 0
    """Settled lines whose answer is an error."""
    faults: list[str] = field(default_factory=list)
    """The first errors in words."""
    again: set[int] = field(default_factory=set)
    """Rows, from 0, that are to be replaced."""
    end: int = 0
    """Bytes up to the end of the last whole row."""

    def settles(self, custom_id: str | None, number: int) -> bool:
        """Whether a line is settled, by either of its names."""
        return number in self.numbers or custom_id in self.ids


def read_rows(path: Path) -> Rows:
    """What the rows of an output say; a torn last one is left out. Raises OutputRefused where a line is no row."""
    rows = Rows()
    with path.open("rb") as file:
        for place, raw in enumerate(file):
            if not raw.endswith(b"\n"):
                break
            try:
                _read_row(rows, place, raw)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise OutputRefused(
                    f"{path}: line {place + 1} is no row of a batch's output ({error}); mend it, or begin anew with --overwrite"
                ) from None
            rows.end += len(raw)
    return rows


def _read_row(rows: Rows, place: int, raw: bytes) -> None:
    row = _parsed(raw)
    custom_id, error = row.get("custom_id"), row.get("error")
    status = row["response"]["status_code"] if row.get("response") else 0
    if is_passing(status, error):
        rows.again.add(place)
        return
    if status == 0 and error is not None:
        rows.numbers.add(int(error["line"]))
    else:
        rows.ids.add(str(custom_id))
    if status != 200:
        rows.errors += 1
        if len(rows.faults) < MOST_SHOWN:
            rows.faults.append(fault(row))


def _parsed(raw: bytes) -> dict[str, Any]:
    """A row. Raises ValueError, KeyError or TypeError for what is none."""
    row: dict[str, Any] = jiter.from_json(raw, cache_mode="keys")
    if row["error"] is None and not (isinstance(row["custom_id"], str) and row["response"]["status_code"]):
        raise ValueError("neither an answer nor an error")
    return row


def fault(row: Mapping[str, Any]) -> str:
    """An error's row in one line of words."""
    if row.get("error"):
        named = f"custom_id {row['custom_id']!r}: " if row.get("custom_id") else ""
        return f"{named}{row['error']['code']}: {row['error']['message']}"
    response = row["response"]
    told = (response.get("body") or {}).get("error") or {}
    return f"custom_id {row['custom_id']!r}: {response['status_code']} {told.get('code')}: {str(told.get('message'))[:300]}"


def mend(path: Path, rows: Rows) -> None:
    """Cut off a torn last row and take out the rows that are to be replaced; atomic, and nothing where there are none."""
    if rows.again:
        _rewrite(path, rows.again, rows.end)
    elif rows.end < path.stat().st_size:
        os.truncate(path, rows.end)


def _rewrite(path: Path, left_out: set[int], end: int) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    with path.open("rb") as old, beside.open("wb") as new:
        new.writelines(raw for place, raw in enumerate(_whole(old, end)) if place not in left_out)
        new.flush()
        os.fsync(new.fileno())
    os.replace(beside, path)


def _whole(file: Iterator[bytes], end: int) -> Iterator[bytes]:
    """The rows before the byte `end`."""
    for raw in file:
        end -= len(raw)
        if end < 0:
            return
        yield raw


class RowWriter:
    """Appends rows to an output; a context that ends with the rows safely on disk."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._end = self._file.tell()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row. Raises OSError (a full disk) with nothing of the row left in the file."""
        rest = memoryview(f"{json.dumps(row, ensure_ascii=False, separators=(',', ':'))}\n".encode("utf-8", "replace"))
        whole = len(rest)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            self._file.truncate(self._end)
            raise
        self._end += whole

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Sync and close the file."""
        with self._file:
            os.fsync(self._file.fileno())
