"""What is kept of files and batches. Every object belongs to the key that made it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trimtab.server.wire import Endpoint

Purpose = Literal["batch", "batch_output"]
BatchStatus = Literal["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"]
ENDED: frozenset[BatchStatus] = frozenset({"completed", "failed", "expired", "cancelled"})
WORKED: frozenset[BatchStatus] = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
"""What a worker has to do something about."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file; its bytes lie elsewhere, under its id."""

    id: str
    """`file-...`."""
    owner: str
    """Name of the key."""
    filename: str
    bytes: int
    created_at: int
    """Unix time, as all times here."""
    purpose: Purpose
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class LineFault:
    """Why a batch failed before it began: one line of its file, or the file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch."""

    id: str
    """`batch_...`."""
    owner: str
    endpoint: Endpoint
    input_file_id: str
    created_at: int
    expires_at: int
    """When it ends unfinished."""
    status: BatchStatus = "validating"
    metadata: Mapping[str, str] = field(default_factory=dict)
    output_expires_after_s: int | None = None
    model: str | None = None
    total: int = 0
    """Lines of the input."""
    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    faults: tuple[LineFault, ...] = ()
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None


@dataclass(frozen=True, slots=True)
class LineResult:
    """The row of one answered line."""

    number: int
    """Its line in the input, from 1."""
    ok: bool
    """Whether it goes to the output file, not the error file."""
    row: str
    """The output line, without its end."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
