"""Records of files and batches for tests."""

import uuid
from dataclasses import replace
from typing import Any

from trimtab.server.jobs.records import BatchRecord, FileRecord
from trimtab.server.wire import new_id

OWNER = "app"


def a_file(owner: str = OWNER, **fields: Any) -> FileRecord:
    """A file of ten bytes."""
    record = FileRecord(new_id("file"), owner, "in.jsonl", 10, 1_000, "batch")
    return replace(record, **fields)


def a_batch(input: FileRecord, **fields: Any) -> BatchRecord:
    """A batch on a file, of the file's owner."""
    name = f"batch_{uuid.uuid4().hex}"
    return replace(BatchRecord(name, input.owner, "/v1/embeddings", input.id, 1_000, 90_000), **fields)
