"""`/v1/files`: what batches read and write. All of it needs the scope `batch`; a key sees its own files alone."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from trimtab.server.api.auth import require
from trimtab.server.api.download import Download
from trimtab.server.api.jobs_work import on_jobs
from trimtab.server.api.schemas.files import UPLOAD_SCHEMA, file_object, files_object
from trimtab.server.api.upload import Upload, uploaded
from trimtab.server.engines.base import Wire
from trimtab.server.exchange import Principal
from trimtab.server.jobs.opened import Jobs
from trimtab.server.jobs.pages import Order
from trimtab.server.jobs.records import FileRecord, Purpose

router = APIRouter(tags=["files"])

Batcher = Annotated[Principal, Depends(require("batch"))]

_FORM = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": UPLOAD_SCHEMA}}}}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes.", "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
}


@router.post("/v1/files", openapi_extra=_FORM)
async def upload_file(request: Request, caller: Batcher) -> Wire:
    """A new file, on disk when it is answered."""
    async with uploaded(request) as upload:
        return file_object(await on_jobs(request, caller, lambda jobs: _keep(jobs, caller.name, upload)))


@router.get("/v1/files")
async def list_files(
    request: Request,
    caller: Batcher,
    after: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
    purpose: Purpose | None = None,
) -> Wire:
    """Files by the order in which they were made; `after` is the last id of the page before."""

    def listed(jobs: Jobs) -> Wire:
        return files_object(jobs.store.list_files(caller.name, after=after, limit=limit, order=order, purpose=purpose))

    return await on_jobs(request, caller, listed)


@router.get("/v1/files/{file_id}")
async def retrieve_file(file_id: str, request: Request, caller: Batcher) -> Wire:
    """One file, without its bytes."""
    return file_object(await on_jobs(request, caller, lambda jobs: jobs.store.get_file(caller.name, file_id)))


@router.delete("/v1/files/{file_id}")
async def delete_file(file_id: str, request: Request, caller: Batcher) -> Wire:
    """Delete a file; a 409 while a batch works on it."""
    await on_jobs(request, caller, lambda jobs: jobs.delete_file(caller.name, file_id))
    return {"id": file_id, "object": "file", "deleted": True}


@router.get("/v1/files/{file_id}/content", response_class=Response, responses=_BYTES)
async def file_content(file_id: str, request: Request, caller: Batcher) -> Response:
    """The bytes of a file."""

    def found(jobs: Jobs) -> Response:
        file = jobs.store.get_file(caller.name, file_id)
        return Download(partial(jobs.blobs.open, file.id), file.bytes, file.filename)

    return await on_jobs(request, caller, found)


def _keep(jobs: Jobs, owner: str, upload: Upload) -> FileRecord:
    """The file of an upload; where the client has gone, and the upload with it, there is none."""
    record = jobs.new_file(owner, upload.filename, "batch", upload.size, expires_after_s=upload.expires_after_s)
    jobs.add_file(record, upload.file)
    return record
