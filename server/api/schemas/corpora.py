"""The wire of `/v1/corpora`: what is asked, and how corpora, documents, hits and snapshots are told."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from trimtab.retrieval.documents import Document, Filter, Hit
from trimtab.server.settings import Limits
from trimtab.strategies.core.errors import RequestRefused

if TYPE_CHECKING:
    from trimtab.retrieval.receipts import CorpusInfo, Page, Receipt, Snapshot

Wire = dict[str, Any]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)


class CorpusRequest(_Request):
    """A corpus to be made."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """1 to 64 of a-z, 0-9, '-', '_' and single dots."""
    encoder: str | None = None
    """A sentence encoder that this server serves; default its first. It cannot be changed later."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Anything worth keeping with it."""


class DocumentFields(_Request):
    """A document to be put into a corpus."""

    id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Its name in the corpus; default one made of text and answer. A document of that id is replaced."""
    text: Annotated[str, Field(min_length=1)]
    """What is embedded and searched: a rule, or the prompt of a demonstration."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """answer (of a demonstration), jurisdiction, tags, valid_from, valid_until (days), source, trust (untrusted, reviewed,
    trusted), and anything else."""


class DocumentsRequest(_Request):
    """Documents to be put into a corpus, all of them or, where one is refused, none."""

    documents: Annotated[list[DocumentFields], Field(min_length=1)]
    """The documents."""


class SearchRequest(_Request):
    """A search."""

    query: Annotated[str, Field(min_length=1)]
    """What is looked for; the encoder reads its beginning."""
    k: int = Field(default=5, ge=1)
    """Most documents wanted."""
    filter: Filter = Filter()
    """Which documents may be found."""


class SnapshotRequest(_Request):
    """A state to be kept."""

    label: Annotated[str, Field(min_length=1, max_length=64)]
    """What it is called."""


def check_documents(request: DocumentsRequest, limits: Limits) -> None:
    """Raise RequestRefused for too many documents, or for one that is too long."""
    count = len(request.documents)
    if count > limits.documents:
        message = f"documents has {count} entries; allowed are {limits.documents} (limits.documents)"
        raise RequestRefused(message, param="documents")
    for index, document in enumerate(request.documents):
        _check_chars(f"documents.{index}.text", document.text, limits)


def check_search(request: SearchRequest, limits: Limits) -> None:
    """Raise RequestRefused for a query that is too long, or for too many hits."""
    _check_chars("query", request.query, limits)
    if request.k > limits.hits:
        raise RequestRefused(f"k={request.k} is too large: allowed are 1 to {limits.hits} (limits.hits)", param="k")


def _check_chars(name: str, text: str, limits: Limits) -> None:
    if len(text) > limits.document_chars:
        message = f"{name} has {len(text)} characters; allowed are {limits.document_chars} (limits.document_chars)"
        raise RequestRefused(message, param=name)


def corpus_object(info: "CorpusInfo") -> Wire:
    """A corpus on the wire."""
    return {
        "object": "corpus",
        "name": info.name,
        "encoder": info.encoder,
        "documents": info.documents,
        "chunks": info.chunks,
        "version": info.version,
        "created": unix(info.created) if info.created is not None else None,
        "read_only": info.read_only,
        "metadata": dict(info.metadata),
    }


def document_object(document: Document) -> Wire:
    """A document on the wire."""
    return {
        "object": "corpus.document",
        "id": document.id,
        "text": document.text,
        "metadata": plain(document.metadata),
    }


def hit_object(hit: Hit) -> Wire:
    """A passage that was found, with the document it belongs to."""
    found = document_object(hit.document)
    return {"object": "corpus.hit", "score": hit.score, "passage": hit.text, "chunk": hit.chunk, "document": found}


def receipt_object(receipt: "Receipt") -> Wire:
    """What became of documents that were put."""
    return {
        "object": "corpus.receipt",
        "ids": list(receipt.ids),
        "added": receipt.added,
        "replaced": receipt.replaced,
        "flagged": {document: list(marks) for document, marks in receipt.flagged.items()},
        "version": receipt.version,
    }


def page_object(page: "Page") -> Wire:
    """A stretch of a corpus, as OpenAI's lists."""
    data = [document_object(document) for document in page.documents]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": page.next is not None}


def snapshot_object(snapshot: "Snapshot") -> Wire:
    """A state that is kept."""
    return {
        "object": "corpus.snapshot",
        "label": snapshot.label,
        "version": snapshot.version,
        "documents": snapshot.documents,
        "created": unix(snapshot.created),
    }


def unix(moment: str) -> int:
    """Seconds since 1970 of an ISO 8601 moment."""
    return int(datetime.fromisoformat(moment).timestamp())


def plain(value: Any) -> Any:
    """A JSON value of plain dicts and lists."""
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, list | tuple) else value
