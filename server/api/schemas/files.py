"""Files on the wire, both ways."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trimtab.server.engines.base import Wire
from trimtab.server.jobs.pages import Page
from trimtab.server.jobs.records import FileRecord

MIN_EXPIRY_S, MAX_EXPIRY_S = 3600, 2_592_000
"""An hour to thirty days, as OpenAI has it."""
NAME_CHARS = 255

UPLOAD_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The JSONL file."},
        "purpose": {"type": "string", "enum": ["batch"], "description": "What it is for."},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": MIN_EXPIRY_S, "maximum": MAX_EXPIRY_S},
    },
}
"""The form of an upload."""


class ExpiresAfter(BaseModel):
    """When a file goes by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    anchor: Literal["created_at"]
    """From when the time runs."""
    seconds: int = Field(ge=MIN_EXPIRY_S, le=MAX_EXPIRY_S)
    """How long it stays; `jobs.retention_s` may be shorter."""


class UploadFields(BaseModel):
    """What an upload says beside its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: str
    """What the file is for."""
    expires_after: ExpiresAfter | None = None
    """When it goes; default `jobs.retention_s`."""

    @field_validator("purpose")
    @classmethod
    def _is_batch(cls, purpose: str) -> str:
        if purpose != "batch":
            served = "files are kept here as the input of batches alone; allowed is 'batch'"
            raise ValueError(f"the purpose {purpose[:100]!r} is not served: {served}")
        return purpose


def file_object(file: FileRecord) -> Wire:
    """A file on the wire."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": file.expires_at,
    }


def files_object(page: Page[FileRecord]) -> Wire:
    """A stretch of a list of files."""
    data = [file_object(file) for file in page.items]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": page.has_more}
