"""`/v1/batches`: files of requests, answered while there is room beside the requests of clients.

All needs the scope `batch`; a key sees its own batches alone, another one's is a 404.
"""

import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.jobs_work import on_jobs
from trimtab.server.api.refusal import validated
from trimtab.server.api.schemas.batches import BatchRequest, Wire, batch_object, batches_object
from trimtab.server.errors import Conflict, NotFound
from trimtab.server.exchange import Principal
from trimtab.server.jobs.opened import Jobs
from trimtab.server.jobs.records import BatchRecord, FileRecord
from trimtab.server.jobs.served import ServedBatches
from trimtab.server.jobs.store import Store
from trimtab.strategies.core.errors import RequestRefused

router = APIRouter(tags=["batches"])

Caller = Annotated[Principal, Depends(require("batch"))]


@router.post("/v1/batches", openapi_extra=documented(BatchRequest))
async def create_batch(request: Request, caller: Caller) -> Wire:
    """A new batch: its file is checked, then its lines are answered."""
    wanted = validated(BatchRequest, await read_object(request))
    try:
        return batch_object(await on_jobs(request, caller, lambda jobs: _made(jobs, caller.name, wanted, int(time.time()))))
    finally:
        _batches(request).wake()


@router.get("/v1/batches")
async def list_batches(
    request: Request,
    caller: Caller,
    after: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Wire:
    """The key's batches, the newest first; `after` is the last id of the page before."""
    return batches_object(
        await on_jobs(request, caller, lambda jobs: jobs.store.list_batches(caller.name, after=after, limit=limit))
    )


@router.get("/v1/batches/{batch_id}")
async def retrieve_batch(batch_id: str, request: Request, caller: Caller) -> Wire:
    """One batch, as it stands."""
    return batch_object(await on_jobs(request, caller, lambda jobs: jobs.store.get_batch(caller.name, batch_id)))


@router.post("/v1/batches/{batch_id}/cancel")
async def cancel_batch(batch_id: str, request: Request, caller: Caller) -> Wire:
    """End a batch: lines in work are aborted, and what was answered becomes its output.

    One that is finalizing is complete and stays so; one that is cancelled already stays as it is; one that has ended otherwise
    is a 409.
    """
    try:
        return batch_object(
            await on_jobs(request, caller, lambda jobs: _cancelled(jobs.store, caller.name, batch_id, int(time.time())))
        )
    finally:
        _batches(request).notice(batch_id)


def _made(jobs: Jobs, owner: str, wanted: BatchRequest, now: int) -> BatchRecord:
    """The batch that is asked for, kept. Raises NotFound, and RequestRefused where its file is none of requests."""
    file = _input(jobs, owner, wanted.input_file_id)
    record = BatchRecord(
        id=f"batch_{uuid.uuid4().hex}",
        owner=owner,
        endpoint=wanted.endpoint,
        input_file_id=file.id,
        created_at=now,
        expires_at=now + int(jobs.config.window_s),
        metadata=wanted.metadata or {},
        output_expires_after_s=wanted.output_expires_after.seconds if wanted.output_expires_after else None,
    )
    jobs.store.add_batch(record)
    return record


def _input(jobs: Jobs, owner: str, id: str) -> FileRecord:
    """A file of requests. Raises NotFound, and RequestRefused for a file of another purpose."""
    try:
        file = jobs.store.get_file(owner, id)
    except NotFound as error:
        raise NotFound(str(error), param="input_file_id", code=error.code) from None
    if file.purpose != "batch":
        message = f"the file {file.id} has the purpose {file.purpose!r}; a batch reads files of the purpose 'batch'"
        raise RequestRefused(message, param="input_file_id", code="invalid_file_purpose")
    return file


def _cancelled(store: Store, owner: str, id: str, now: int) -> BatchRecord:
    """The batch, which ends or has ended by being cancelled, or is complete but for its files. Raises Conflict otherwise.

    Where no line was begun there is nothing to be wound up.
    """
    store.get_batch(owner, id)
    moved = store.move(id, frozenset({"validating"}), "cancelled", {"cancelling_at": now, "cancelled_at": now})
    moved = moved or store.move(id, frozenset({"in_progress"}), "cancelling", {"cancelling_at": now})
    record = moved or store.get_batch(owner, id)
    if record.status in {"completed", "failed", "expired"}:
        raise Conflict(f"the batch {id} is {record.status} and cannot be cancelled any more", code="batch_ended")
    return record


def _batches(request: Request) -> ServedBatches:
    batches: ServedBatches = request.app.state.batches
    return batches
