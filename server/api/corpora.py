"""`/v1/corpora`: norms and demonstrations. A change is on disk when it is answered and seen by every request after that.

Reading needs the scope `infer` or `corpus`, writing `corpus`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request

from trimtab.retrieval.checked import check_metadata, content_id
from trimtab.retrieval.documents import Document
from trimtab.retrieval.errors import InvalidDocument, UnknownDocument
from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.refusal import validated
from trimtab.server.api.respond import within_limits
from trimtab.server.api.schemas.corpora import (
    CorpusRequest,
    DocumentFields,
    DocumentsRequest,
    SearchRequest,
    SnapshotRequest,
    Wire,
    check_documents,
    check_search,
    corpus_object,
    document_object,
    hit_object,
    page_object,
    receipt_object,
    snapshot_object,
)
from trimtab.server.corpora import ServedCorpora
from trimtab.server.errors import NotFound
from trimtab.server.exchange import Principal
from trimtab.server.service import Service
from trimtab.strategies.core.errors import RequestRefused

if TYPE_CHECKING:
    from trimtab.retrieval.library import Library

router = APIRouter(tags=["corpora"])

Reader = Annotated[Principal, Depends(require("infer", "corpus"))]
Writer = Annotated[Principal, Depends(require("corpus"))]
Result = TypeVar("Result")


@router.get("/v1/corpora")
async def list_corpora(request: Request, caller: Reader) -> Wire:
    """Every corpus, the built-in ones included, by name."""
    infos = await _read(request, caller, lambda library: library.names())
    return {"object": "list", "data": [corpus_object(info) for info in infos]}


@router.post("/v1/corpora", openapi_extra=documented(CorpusRequest))
async def create_corpus(request: Request, caller: Writer) -> Wire:
    """A new, empty corpus."""
    wanted = validated(CorpusRequest, await read_object(request))
    served = _corpora(request).encoders.served
    if wanted.encoder is not None and wanted.encoder not in served:
        shown = ", ".join(served)
        raise RequestRefused(f"this server has no encoder {wanted.encoder[:200]!r}; it has: {shown}", param="encoder")
    try:
        check_metadata(wanted.metadata)
    except InvalidDocument as error:
        raise RequestRefused(str(error), param="metadata") from error
    return corpus_object(
        await _write(
            request, caller, lambda it: it.create(wanted.name, encoder=wanted.encoder, metadata=wanted.metadata).info()
        )
    )


@router.get("/v1/corpora/{name}")
async def retrieve_corpus(name: str, request: Request, caller: Reader) -> Wire:
    """One corpus: its encoder, size and version."""
    return corpus_object(await _read(request, caller, lambda library: library.open(name).info()))


@router.delete("/v1/corpora/{name}")
async def delete_corpus(name: str, request: Request, caller: Writer) -> Wire:
    """Delete a corpus with all its documents and snapshots."""
    await _write(request, caller, lambda library: library.delete(name))
    return {"object": "corpus.deleted", "name": name, "deleted": True}


@router.get("/v1/corpora/{name}/documents")
async def list_documents(
    name: str,
    request: Request,
    caller: Reader,
    after: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Wire:
    """Documents by id; `after` is the last id of the page before."""
    return page_object(await _read(request, caller, lambda library: library.open(name).list(after=after, limit=limit)))


@router.post("/v1/corpora/{name}/documents", openapi_extra=documented(DocumentsRequest))
async def put_documents(name: str, request: Request, caller: Writer) -> Wire:
    """Add documents, or replace those of the same id; nothing is stored where one is refused."""
    wanted = validated(DocumentsRequest, await read_object(request))
    check_documents(wanted, _service(request).settings.limits)
    documents = [_document(fields) for fields in wanted.documents]
    return receipt_object(await _write(request, caller, lambda library: library.open(name).put(documents)))


@router.get("/v1/corpora/{name}/documents/{id:path}")
async def retrieve_document(name: str, id: str, request: Request, caller: Reader) -> Wire:
    """One document."""
    return document_object(await _read(request, caller, lambda library: library.open(name).get(id)))


@router.delete("/v1/corpora/{name}/documents/{id:path}")
async def delete_document(name: str, id: str, request: Request, caller: Writer) -> Wire:
    """Remove a document; no search finds it any more."""

    def remove(library: "Library") -> None:
        if not library.open(name).remove([id]):
            raise UnknownDocument(name, id)

    await _write(request, caller, remove)
    return {"object": "corpus.document.deleted", "id": id, "deleted": True}


@router.post("/v1/corpora/{name}/search", openapi_extra=documented(SearchRequest))
async def search(name: str, request: Request, caller: Reader) -> Wire:
    """The documents whose passages are most similar to the query, best first."""
    wanted = validated(SearchRequest, await read_object(request))
    check_search(wanted, _service(request).settings.limits)
    hits = await _read(request, caller, lambda library: library.open(name).search(wanted.query, wanted.k, where=wanted.filter))
    return {"object": "list", "data": [hit_object(hit) for hit in hits]}


@router.get("/v1/corpora/{name}/snapshots")
async def list_snapshots(name: str, request: Request, caller: Reader) -> Wire:
    """The states that are kept, the oldest first."""
    kept = await _read(request, caller, lambda library: library.open(name).snapshots())
    return {"object": "list", "data": [snapshot_object(snapshot) for snapshot in kept]}


@router.post("/v1/corpora/{name}/snapshots", openapi_extra=documented(SnapshotRequest))
async def take_snapshot(name: str, request: Request, caller: Writer) -> Wire:
    """Keep the present state under a label."""
    wanted = validated(SnapshotRequest, await read_object(request))
    taken = await _write(request, caller, lambda library: library.open(name).snapshot(wanted.label), named="label")
    return snapshot_object(taken)


@router.post("/v1/corpora/{name}/snapshots/{label}/restore")
async def restore_snapshot(name: str, label: str, request: Request, caller: Writer) -> Wire:
    """Bring back a state that was kept, as a new version."""
    return corpus_object(await _write(request, caller, lambda library: library.open(name).restore(label)))


@router.delete("/v1/corpora/{name}/snapshots/{label}")
async def delete_snapshot(name: str, label: str, request: Request, caller: Writer) -> Wire:
    """Forget a state that was kept."""
    await _write(request, caller, lambda library: library.open(name).delete_snapshot(label))
    return {"object": "corpus.snapshot.deleted", "label": label, "deleted": True}


def _document(fields: DocumentFields) -> Document:
    own = content_id(fields.text, fields.metadata.get("answer"))
    return Document(own if fields.id is None else fields.id, fields.text, fields.metadata)


async def _read(request: Request, caller: Principal, work: "Callable[[Library], Result]") -> Result:
    """Work that changes nothing, in its turn."""
    corpora = _corpora(request)
    result: Result = await within_limits(request, caller, lambda: corpora.read(work, param="name"))
    return result


async def _write(request: Request, caller: Principal, work: "Callable[[Library], Result]", *, named: str = "name") -> Result:
    """Work that changes something, in its turn; it is done to its end also where the client goes."""
    corpora = _corpora(request)
    result: Result = await within_limits(request, caller, lambda: corpora.write(work, named=named))
    return result


def _corpora(request: Request) -> ServedCorpora:
    corpora = _service(request).corpora
    if corpora is None:
        raise NotFound("this server keeps no corpora", code="endpoint_not_supported")
    return corpora


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
