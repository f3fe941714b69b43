"""Reads training data into rows; what cannot be read is told by line, and `max_bad_rows` decides whether that is too much."""

import logging
from dataclasses import dataclass
from pathlib import Path

from trimtab.training.data.columns import row_of
from trimtab.training.data.rows import Row
from trimtab.training.data.sources import Read, records
from trimtab.training.data.validation import BadRecord
from trimtab.training.errors import DataError

logger = logging.getLogger(__name__)

SHOWN = 10
"""Bad lines that an error tells of; all of them are counted."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that makes no row."""

    line: int
    """From 1."""
    reason: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file + ' ' if self.file else ''}line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RowSet:
    """Everything a source holds."""

    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...] = ()
    """Lines that were left out, in order."""

    def by_line(self) -> dict[int, Row]:
        """The rows by their lines. Raises DataError where rows of several files have the same."""
        found = {row.line: row for row in self.rows}
        if len(found) < len(self.rows):
            raise DataError("rows of several files have the same line numbers; put them into one file")
        return found


def read_rows(source: str | Path, *, split: str = "train", max_bad_rows: int = 0) -> RowSet:
    """The rows of a JSONL or Parquet file, a folder, a saved data set or a data set of the hub.

    split: which part of a folder or data set. max_bad_rows: how many bad lines are left out before the whole is refused.
    Raises DataError: more bad lines than that (it tells the first ten), no row at all, a source that cannot be read.
    """
    rows: list[Row] = []
    bad: list[BadRow] = []
    ids: dict[str, int] = {}
    for read in records(source, split):
        try:
            row = _row(read)
            _claim(row, read, ids)
        except BadRecord as error:
            bad.append(BadRow(read.line, str(error), read.file))
        else:
            rows.append(row)
    _judge(source, rows, bad, max_bad_rows)
    return RowSet(tuple(rows), tuple(bad))


def _row(read: Read) -> Row:
    if read.record is None:
        raise BadRecord(read.reason)
    return row_of(read.record, read.line)


def _claim(row: Row, read: Read, ids: dict[str, int]) -> None:
    """Raises BadRecord where an id that the record itself gives is taken."""
    if read.record is None or read.record.get("id") is None:
        return
    if row.id in ids:
        raise BadRecord(f"the id {row.id!r} is that of line {ids[row.id]}")
    ids[row.id] = read.line


def _judge(source: str | Path, rows: list[Row], bad: list[BadRow], max_bad_rows: int) -> None:
    if len(bad) > max_bad_rows:
        more = f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        told = "".join(f"\n  {one}" for one in bad[:SHOWN])
        raise DataError(
            f"{source}: {len(bad)} bad of {len(rows) + len(bad)} rows, {max_bad_rows} allowed (--max-bad-rows):{told}{more}"
        )
    if not rows:
        left_out = f" ({len(bad)} bad ones were left out, the first: {bad[0]})" if bad else ""
        raise DataError(f"{source}: holds no row{left_out}")
    for one in bad:
        logger.warning("%s: left out: %s", source, one)
