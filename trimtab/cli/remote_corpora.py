"""A server's corpora with the methods of the local library (`trimtab.retrieval.library`), so that one command serves both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

from trimtab.retrieval.documents import Document, Filter, Hit
from trimtab.retrieval.receipts import CorpusInfo, Page, Receipt, Snapshot
from trimtab.server.errors import ServerError

Wire = Mapping[str, Any]

TIMEOUT_S = 600.0
"""Longest silence while the server embeds a batch."""
REQUEST_CHARS = 500_000
"""Characters of the documents of a request; a server takes bodies of some megabytes, and a character may take six bytes."""


class Refused(ServerError):
    """The server did not do what it was asked; the message is its own."""


class RemoteLibrary:
    """The corpora of a server."""

    def __init__(self, url: str, api_key: str | None, *, transport: httpx2.BaseTransport | None = None) -> None:
        """`url`: with or without `/v1`."""
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        base = url.rstrip("/").removesuffix("/v1")
        self._http = httpx2.Client(base_url=base, headers=headers, timeout=TIMEOUT_S, transport=transport)

    def names(self) -> list[CorpusInfo]:
        """Every corpus at a glance, by name."""
        return [_info(told) for told in self.ask("GET")["data"]]

    def create(self, name: str, *, encoder: str | None = None, metadata: Wire | None = None) -> "RemoteCorpus":
        """A new, empty corpus."""
        body = {"name": name, "metadata": dict(metadata or {}), **({"encoder": encoder} if encoder else {})}
        self.ask("POST", body=body)
        return self.open(name)

    def open(self, name: str) -> "RemoteCorpus":
        """A corpus by name; whether it is there, its methods find out."""
        return RemoteCorpus(self, name)

    def delete(self, name: str) -> None:
        """Delete a corpus."""
        self.ask("DELETE", name)

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the connection."""
        self.close()

    def ask(self, method: str, *path: str, body: Wire | None = None, query: Wire | None = None) -> Any:
        """The answer to a request below /v1/corpora. Raises Refused."""
        target = "/".join(("/v1/corpora", *(quote(part, safe="") for part in path)))
        try:
            answer = self._http.request(method, target, json=body, params=query)
        except httpx2.HTTPError as error:
            raise Refused(f"{self._http.base_url}: {error or type(error).__name__}") from error
        if answer.is_success:
            return answer.json()
        raise _refusal(answer)


@dataclass(frozen=True, slots=True)
class RemoteCorpus:
    """One corpus of a server."""

    library: RemoteLibrary
    name: str

    def info(self) -> CorpusInfo:
        """The corpus at a glance."""
        return _info(self._ask("GET"))

    def put(self, documents: Sequence[Document]) -> Receipt:
        """Add or replace documents, in as many requests as their size asks for; each is stored whole or not at all."""
        receipts = [self._put(some) for some in _requests(documents)]
        ids = tuple(document for receipt in receipts for document in receipt.ids)
        flagged = {document: marks for receipt in receipts for document, marks in receipt.flagged.items()}
        added, replaced = (sum(getattr(receipt, name) for receipt in receipts) for name in ("added", "replaced"))
        return Receipt(ids, added, replaced, flagged, receipts[-1].version if receipts else self.info().version)

    def _put(self, documents: Sequence[Wire]) -> Receipt:
        told = self._ask("POST", "documents", body={"documents": documents})
        flagged = {document: tuple(marks) for document, marks in told["flagged"].items()}
        return Receipt(tuple(told["ids"]), told["added"], told["replaced"], flagged, told["version"])

    def get(self, id: str) -> Document:
        """A document."""
        return _document(self._ask("GET", "documents", id))

    def list(self, *, after: str | None = None, limit: int = 100) -> Page:
        """Documents by id, from behind `after` on."""
        told = self._ask("GET", "documents", query={"limit": limit, **({"after": after} if after else {})})
        return Page(tuple(map(_document, told["data"])), told["last_id"] if told["has_more"] else None)

    def search(self, query: str, k: int, *, where: Filter | None = None) -> tuple[Hit, ...]:
        """The `k` documents most similar to the query."""
        body = {"query": query, "k": k, "filter": (where or Filter()).model_dump(mode="json")}
        told = self._ask("POST", "search", body=body)["data"]
        return tuple(Hit(_document(hit["document"]), hit["passage"], hit["score"], hit["chunk"]) for hit in told)

    def remove(self, ids: Sequence[str]) -> int:
        """Take documents out. Raises Refused at the first that is not there."""
        for document in ids:
            self._ask("DELETE", "documents", document)
        return len(ids)

    def snapshot(self, label: str) -> Snapshot:
        """Keep the present state."""
        return _snapshot(self._ask("POST", "snapshots", body={"label": label}))

    def snapshots(self) -> tuple[Snapshot, ...]:
        """The states that are kept, the oldest first."""
        return tuple(map(_snapshot, self._ask("GET", "snapshots")["data"]))

    def restore(self, label: str) -> CorpusInfo:
        """Bring a state back."""
        return _info(self._ask("POST", "snapshots", label, "restore"))

    def delete_snapshot(self, label: str) -> None:
        """Forget a state."""
        self._ask("DELETE", "snapshots", label)

    def _ask(self, method: str, *path: str, body: Wire | None = None, query: Wire | None = None) -> Any:
        return self.library.ask(method, self.name, *path, body=body, query=query)


def _requests(documents: Sequence[Document]) -> Iterator[Sequence[Wire]]:
    """Documents on the wire, in portions of bounded size."""
    portion: list[Wire] = []
    chars = 0
    for document in documents:
        wire = _wire(document)
        size = len(document.id) + len(document.text) + len(str(wire["metadata"]))
        if portion and chars + size > REQUEST_CHARS:
            yield portion
            portion, chars = [], 0
        portion.append(wire)
        chars += size
    if portion:
        yield portion


def _refusal(answer: httpx2.Response) -> Refused:
    """The server's own words."""
    try:
        error = answer.json()["error"]
        return Refused(str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return Refused(f"{answer.url} answered {answer.status_code}; is it a Trimtab server?")


def _wire(document: Document) -> Wire:
    return {"id": document.id, "text": document.text, "metadata": dict(document.metadata)}


def _document(told: Wire) -> Document:
    return Document(told["id"], told["text"], told["metadata"])


def _info(told: Wire) -> CorpusInfo:
    created = None if told["created"] is None else _moment(told["created"])
    sizes = (told["documents"], told["chunks"], told["version"])
    return CorpusInfo(told["name"], told["encoder"], None, *sizes, told["metadata"], created, told["read_only"])


def _snapshot(told: Wire) -> Snapshot:
    return Snapshot(told["label"], told["version"], told["documents"], _moment(told["created"]))


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
