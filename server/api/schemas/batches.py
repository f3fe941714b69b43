"""The wire of `/v1/batches`: what is asked, and how a batch is told."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trimtab.server.jobs.pages import Page
from trimtab.server.jobs.records import BatchRecord, LineFault
from trimtab.server.wire import Endpoint

Wire = dict[str, Any]

WINDOW = "24h"
"""OpenAI's only completion window; how long it is here, `jobs.window_s` says, and `expires_at` of the batch."""

MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)


class OutputExpiresAfter(_Request):
    """When the output and error files are deleted."""

    anchor: Literal["created_at"]
    """From when the time runs: the making of the file."""
    seconds: int = Field(ge=3600, le=2_592_000)
    """An hour to 30 days."""


class BatchRequest(_Request):
    """A file of requests to be answered."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=256)]
    """An uploaded file of the purpose `batch`."""
    endpoint: Endpoint
    """Where every line of the file goes."""
    completion_window: Literal["24h"]
    """The time it has."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    """Up to 16 pairs of up to 64 and 512 characters."""
    output_expires_after: OutputExpiresAfter | None = None
    """When its output is deleted; default never, but for the server's retention."""


def batch_object(record: BatchRecord) -> Wire:
    """OpenAI's batch."""
    return {
        "id": record.id,
        "object": "batch",
        "endpoint": record.endpoint,
        "model": record.model,
        "errors": {"object": "list", "data": [_fault(fault) for fault in record.faults]} if record.faults else None,
        "input_file_id": record.input_file_id,
        "completion_window": WINDOW,
        "status": record.status,
        "output_file_id": record.output_file_id,
        "error_file_id": record.error_file_id,
        "created_at": record.created_at,
        "in_progress_at": record.in_progress_at,
        "expires_at": record.expires_at,
        "finalizing_at": record.finalizing_at,
        "completed_at": record.completed_at,
        "failed_at": record.failed_at,
        "expired_at": record.expired_at,
        "cancelling_at": record.cancelling_at,
        "cancelled_at": record.cancelled_at,
        "request_counts": {"total": record.total, "completed": record.completed, "failed": record.failed},
        "usage": _usage(record),
        "metadata": dict(record.metadata) or None,
    }


def batches_object(page: Page[BatchRecord]) -> Wire:
    """A stretch of the list of batches."""
    data = [batch_object(record) for record in page.items]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": page.has_more}


def _fault(fault: LineFault) -> Wire:
    return {"code": fault.code, "line": fault.line, "message": fault.message, "param": fault.param}


def _usage(record: BatchRecord) -> Wire:
    """The sum over its lines; reasoning is no longer told apart from the rest of an answer there."""
    return {
        "input_tokens": record.prompt_tokens,
        "input_tokens_details": {"cached_tokens": record.cached_tokens},
        "output_tokens": record.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": record.prompt_tokens + record.completion_tokens,
    }
