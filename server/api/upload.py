"""Uploads: a form of one file and a few fields, spooled to disk while it arrives."""

import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from trimtab.server.api.interrupt import ClientGone
from trimtab.server.api.refusal import validated
from trimtab.server.api.schemas.files import NAME_CHARS, UploadFields
from trimtab.server.errors import BodyTooLarge, Forbidden
from trimtab.server.jobs.blobs import full_disk
from trimtab.server.middleware.body_limit import MIB
from trimtab.server.settings import Settings
from trimtab.strategies.core.errors import RequestRefused

FORM_FIELDS = 8
FIELD_BYTES = 4096
FORM_BYTES = 64 * 1024
"""What of a body may be form, not file."""
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Upload:
    """What was sent."""

    file: BinaryIO
    """The bytes, from their start."""
    size: int
    filename: str
    expires_after_s: int | None


@asynccontextmanager
async def uploaded(request: Request) -> AsyncIterator[Upload]:
    """The upload of a request; its bytes are gone when the block ends.

    Raises RequestRefused, Forbidden (a page of another site), BodyTooLarge (`jobs.file_mib`), StorageFull.
    """
    settings: Settings = request.app.state.settings
    _check_origin(request, settings)
    form = await _form(request)
    try:
        yield _upload(form, settings.jobs.file_mib)
    finally:
        await form.close()


async def _form(request: Request) -> FormData:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "multipart/form-data":
        shown = content_type[:80] or "none"
        raise RequestRefused(f"a file must be sent with `Content-Type: multipart/form-data` (got {shown})")
    try:
        with full_disk():
            return await request.form(max_files=1, max_fields=FORM_FIELDS, max_part_size=FIELD_BYTES)
    except ClientDisconnect:
        raise ClientGone("the client closed the connection before its file was complete") from None


def _upload(form: FormData, limit_mib: float) -> Upload:
    """The upload in a form. Raises RequestRefused, BodyTooLarge."""
    fields = validated(UploadFields, _nested(form))
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise RequestRefused("the form has no part `file` with a file name and the bytes of the file", param="file")
    size = file.size or 0
    if size == 0:
        raise RequestRefused("the file is empty", param="file", code="empty_file")
    if size > limit_mib * MIB:
        shown = f"the file has {size / MIB:.2f} MiB; allowed are {limit_mib:g} (jobs.file_mib)"
        raise BodyTooLarge(shown, param="file")
    expires = fields.expires_after
    return Upload(file.file, size, _filename(file.filename), None if expires is None else expires.seconds)


def _nested(form: FormData) -> Mapping[str, Any]:
    """The fields but the file; `expires_after[seconds]` is a member of `expires_after`. Raises RequestRefused."""
    fields: dict[str, Any] = {}
    seen: set[str] = set()
    for name, value in form.multi_items():
        if name in seen:
            raise RequestRefused(f"the form has the part {name[:100]!r} twice", param=name[:100])
        seen.add(name)
        group, bracket, rest = name.partition("[")
        if name == "file":
            continue
        if group == "expires_after" and bracket and rest.endswith("]"):
            fields.setdefault(group, {})[rest[:-1]] = value
        else:
            fields[name] = value
    return fields


def _filename(name: str | None) -> str:
    """The client's name for a file, which is kept and never used as a path. Raises RequestRefused."""
    shown = ascii((name or "")[:80])
    if not name or len(name) > NAME_CHARS:
        raise RequestRefused(f"the file name {shown} must have 1 to {NAME_CHARS} characters", param="file")
    if any(unicodedata.category(character) in _UNSEEN for character in name):
        raise RequestRefused(f"the file name {shown} has control characters", param="file")
    return name


def _check_origin(request: Request, settings: Settings) -> None:
    """Raise Forbidden for a page of another site: browsers send forms to any local server without asking."""
    origin = request.headers.get("origin")
    allowed = settings.http.cors_origins
    if origin is None or origin in allowed or "*" in allowed or urlsplit(origin).netloc == request.headers.get("host"):
        return
    raise Forbidden(f"pages of {origin[:200]!r} may not upload files here (http.cors_origins)", code="origin_not_allowed")
