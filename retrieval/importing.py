"""Puts the records of a file into a corpus, batch by batch: each batch that is told of is on disk and searchable."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from trimtab.retrieval.checked import check
from trimtab.retrieval.documents import EMPTY, Document
from trimtab.retrieval.errors import InvalidDocument
from trimtab.retrieval.readers import Record
from trimtab.retrieval.receipts import Receipt

BATCH = 256
"""Records that become searchable together."""


class Target(Protocol):
    """Where documents go: a corpus here, or one behind a server."""

    def put(self, documents: list[Document], /) -> Receipt:
        """Adds documents, or replaces those of the same id."""
        ...


@dataclass(frozen=True, slots=True)
class LineError:
    """A record that was left out."""

    line: int
    """Where it begins, from 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What has become of a file."""

    added: int
    replaced: int
    flagged: Mapping[str, tuple[str, ...]]
    """Id of each suspicious document -> what was found in it."""
    errors: tuple[LineError, ...]
    """Records that were left out, in order."""


def import_records(
    target: Target,
    records: Iterable[Record],
    *,
    metadata: Mapping[str, Any] = EMPTY,
    batch: int = BATCH,
    progress: Callable[[int], None] = lambda end: None,
) -> Imported:
    """Puts every good record; the others are told by line.

    metadata: what documents have whose record does not say otherwise, such as their source. progress: called after each batch
    with the bytes of the file that are done with. What the target raises ends the import; batches before it stay.
    """
    added = replaced = 0
    flagged: dict[str, tuple[str, ...]] = {}
    errors: list[LineError] = []
    for some in _batches(records, batch):
        documents = list(_good(some, metadata, errors))
        if documents:
            receipt = target.put(documents)
            added += receipt.added
            replaced += receipt.replaced
            flagged |= receipt.flagged
        progress(some[-1].end)
    return Imported(added, replaced, flagged, tuple(errors))


def _good(records: Iterable[Record], metadata: Mapping[str, Any], errors: list[LineError]) -> Iterator[Document]:
    for record in records:
        if record.document is None:
            errors.append(LineError(record.line, record.error or "no document"))
            continue
        given = record.document
        document = Document(given.id, given.text, {**metadata, **given.metadata})
        try:
            yield check(document).document
        except InvalidDocument as error:
            errors.append(LineError(record.line, str(error)))


def _batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    source = iter(records)
    while some := list(islice(source, size)):
        yield some
