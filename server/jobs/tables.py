"""The tables of files and batches, and their rows as records."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    RowMapping,
    Table,
    Text,
)

from trimtab.server.jobs.records import BatchRecord, FileRecord, LineFault, LineResult

SCHEMA = 1
"""Version of what follows."""

METADATA = MetaData()


def _sequence() -> Column[int]:
    """The order in which rows were made; times of whole seconds would not tell it."""
    return Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def _numbers(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False) for name in names]


def _moments(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger) for name in names]


VERSION = Table("trimtab_schema", METADATA, Column("version", Integer, nullable=False))

OWNERS = Table("owners", METADATA, Column("name", Text, primary_key=True))
"""A row for a key to be locked by: two uploads at once must not both pass its quota."""

FILES = Table(
    "files",
    METADATA,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    *_numbers("bytes", "created_at"),
    *_moments("expires_at"),
    Index("files_of_owner", "owner", "seq"),
    Index("files_by_end", "expires_at"),
    sqlite_autoincrement=True,
)

BATCHES = Table(
    "batches",
    METADATA,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("input_file_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("faults", Text, nullable=False),
    Column("model", Text),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    *_numbers("created_at", "expires_at"),
    *_numbers("total", "completed", "failed", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *_moments("output_expires_after_s", "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at"),
    *_moments("cancelling_at", "cancelled_at"),
    Column("worker", Text),
    Column("leased_until", Double),
    Index("batches_of_owner", "owner", "seq"),
    Index("batches_by_status", "status", "seq"),
    Index("batches_by_input", "input_file_id"),
    sqlite_autoincrement=True,
)

RESULTS = Table(
    "results",
    METADATA,
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("row", Text, nullable=False),
    *_numbers("prompt_tokens", "completion_tokens", "cached_tokens"),
    PrimaryKeyConstraint("batch_id", "number"),
)

FILE_COLUMNS = tuple(FILES.c[field.name] for field in fields(FileRecord))
BATCH_COLUMNS = tuple(BATCHES.c[field.name] for field in fields(BatchRecord))
RESULT_COLUMNS = tuple(RESULTS.c[field.name] for field in fields(LineResult))
_BATCH_FIELDS = frozenset(column.name for column in BATCH_COLUMNS)
_FIXED = frozenset({"id", "owner", "status"})


def file_row(record: FileRecord) -> dict[str, Any]:
    """The row of a file."""
    return asdict(record)


def file_record(row: RowMapping) -> FileRecord:
    """The file of a row."""
    return FileRecord(**row)


def batch_row(record: BatchRecord) -> dict[str, Any]:
    """The row of a batch."""
    return _stored({column.name: getattr(record, column.name) for column in BATCH_COLUMNS})


def batch_changes(changes: Mapping[str, object]) -> dict[str, Any]:
    """Columns to be set. Raises ValueError for a name that is no field of a batch or is not changed this way."""
    unknown = sorted(set(changes) - (_BATCH_FIELDS - _FIXED))
    if unknown:
        raise ValueError(f"a batch has no field to change called {', '.join(unknown)}; there are: {', '.join(_changeable())}")
    return _stored(changes)


def batch_record(row: RowMapping) -> BatchRecord:
    """The batch of a row."""
    values = dict(row)
    faults = tuple(LineFault(**fault) for fault in json.loads(values.pop("faults")))
    return BatchRecord(**values | {"metadata": json.loads(values["metadata"]), "faults": faults})


def result_row(batch_id: str, result: LineResult) -> dict[str, Any]:
    """The row of an answered line."""
    return asdict(result) | {"batch_id": batch_id}


def result_record(row: RowMapping) -> LineResult:
    """The answered line of a row."""
    return LineResult(**row)


def _changeable() -> list[str]:
    return sorted(_BATCH_FIELDS - _FIXED)


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with what is no scalar as JSON."""
    stored = dict(values)
    if "metadata" in stored:
        stored["metadata"] = json.dumps(dict(stored["metadata"]))
    if "faults" in stored:
        stored["faults"] = json.dumps([asdict(fault) for fault in stored["faults"]])
    return stored
