"""The output of a batch: its rows become files. Blocking.

The ids follow from the batch, so that a server which takes over where another one died makes the same files again.
"""

import hashlib
from itertools import chain

from trimtab.server.jobs.opened import Jobs
from trimtab.server.jobs.records import ENDED, BatchRecord, FileRecord


class Overtaken(Exception):
    """Another worker has ended the batch while its output was written here."""


def write_output(jobs: Jobs, batch: BatchRecord) -> tuple[FileRecord | None, FileRecord | None]:
    """The files of a batch's answers and of its failures, whole and on disk; None where there are no such rows.

    Raises StorageFull, EngineUnavailable, and Overtaken, with the other worker's files left as they are.
    """
    return _write(jobs, batch, ok=True), _write(jobs, batch, ok=False)


def _write(jobs: Jobs, batch: BatchRecord, *, ok: bool) -> FileRecord | None:
    rows = jobs.store.results(batch.id, ok=ok)
    first = next(rows, None)
    if first is None:
        return None
    kind, size = "output" if ok else "error", 0
    file_id = f"file-{hashlib.sha256(f'{batch.id} {kind}'.encode()).hexdigest()[:32]}"
    with jobs.blobs.create(file_id) as out:
        for result in chain([first], rows):
            size += out.write(f"{result.row}\n".encode())
        # Whoever ends a batch deletes its rows: those read above may be a part of them, and would replace the whole file.
        if jobs.store.get_batch(batch.owner, batch.id).status in ENDED:
            raise Overtaken(batch.id)
    name, after_s = f"{batch.id}_{kind}.jsonl", batch.output_expires_after_s
    return jobs.new_file(batch.owner, name, "batch_output", size, id=file_id, expires_after_s=after_s)
