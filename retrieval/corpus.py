"""A named collection of documents that can be searched: norms, or demonstrations.

What `put` and `remove` have acknowledged is on disk and seen by every search that begins afterwards; a search sees each change
whole or not at all. Every method blocks and may be called from several threads: searches run beside each other and beside a
writer, writers one after another.
"""

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trimtab.retrieval import database
from trimtab.retrieval.checked import Checked, check
from trimtab.retrieval.database import Database
from trimtab.retrieval.documents import Document, Filter, Hit
from trimtab.retrieval.embedding import Embedder
from trimtab.retrieval.encoding import EncoderSource, Vectors
from trimtab.retrieval.errors import CorpusClosed, ReadOnlyCorpus, SnapshotExists, UnknownDocument, UnknownSnapshot
from trimtab.retrieval.memory import Memory
from trimtab.retrieval.naming import check_name
from trimtab.retrieval.plan import IndexPlan
from trimtab.retrieval.receipts import CorpusInfo, Page, Receipt, Snapshot
from trimtab.retrieval.records import Change, Records, Unembedded
from trimtab.retrieval.snapshots import Snapshots, now
from trimtab.retrieval.view import Match

FILE = "corpus.db"
MOST_HITS = 1000
MOST_PAGE = 1000

EVERYTHING = Filter()
PLAN = IndexPlan()

Committed = TypeVar("Committed", Change, Change | None)


class Corpus:
    """One corpus, opened."""

    def __init__(self, directory: Path, encoders: EncoderSource, *, read_only: bool = False, plan: IndexPlan = PLAN) -> None:
        """Opens what `create` has made. Raises StoreError, NewerStore."""
        self._database = Database(directory / FILE)
        self._records = Records(self._database)
        self._snapshots = Snapshots(self._database)
        self._embedder = Embedder(self._database, encoders)
        self._directory = directory
        self._read_only = read_only
        self._plan = plan
        self._writing = threading.RLock()
        self._memory: Memory | None = None
        self._closed = False
        self.name = self._database.facts()["name"]

    @classmethod
    def create(cls, directory: Path, name: str, encoder: str, metadata: Mapping[str, Any]) -> None:
        """Makes an empty corpus in a directory that is there."""
        database.create(directory / FILE)
        fresh = Database(directory / FILE)
        facts = {"name": name, "encoder": encoder, "metadata": json.dumps(dict(metadata)), "created": now()}
        fresh.note(facts | {"identity": uuid.uuid4().hex, "version": "0", "documents": "0", "chunks": "0"})
        fresh.close()

    def info(self) -> CorpusInfo:
        """The corpus at a glance."""
        self._check_open()
        facts = self._database.facts()
        return CorpusInfo(
            name=facts["name"],
            encoder=facts["encoder"],
            dimension=int(facts["dimension"]) if "dimension" in facts else None,
            documents=int(facts["documents"]),
            chunks=int(facts["chunks"]),
            version=int(facts["version"]),
            metadata=json.loads(facts["metadata"]),
            created=None if self._read_only else facts["created"],
            read_only=self._read_only,
        )

    def put(self, documents: Sequence[Document]) -> Receipt:
        """Adds documents, or replaces those of the same id; of two with one id the later counts.

        A document whose text has not changed keeps its vectors. Raises InvalidDocument, ReadOnlyCorpus, EncoderMismatch; then
        nothing was stored.
        """
        self._check_writable()
        checked = [check(document, index) for index, document in enumerate(documents)]
        latest = {each.document.id: each for each in checked}
        if not latest:
            return Receipt((), 0, 0, {}, self.info().version)
        change = self._put(list(latest.values()))
        return Receipt(
            ids=tuple(each.document.id for each in checked),
            added=change.documents,
            replaced=len(latest) - change.documents,
            flagged={name: each.flags for name, each in latest.items() if each.flags},
            version=change.version,
        )

    def _put(self, documents: Sequence[Checked]) -> Change:
        """Embeds beside other writers, then stores; again from the start where another changed a text meanwhile."""
        while True:
            stored = self._records.texts([each.document.id for each in documents])
            new = [each.document.text for each in documents if stored.get(each.document.id) != each.document.text]
            embedded = self._embedder.passages(new)
            try:
                return self._change(partial(self._records.put, documents, embedded))
            except Unembedded:
                continue

    def remove(self, ids: Sequence[str]) -> int:
        """Takes documents out; how many of the ids were there."""
        self._check_writable()
        change = self._change(partial(self._records.remove, ids))
        return -change.documents if change else 0

    def get(self, id: str) -> Document:
        """A document. Raises UnknownDocument."""
        self._check_open()
        found = self._records.document(id)
        if found is None:
            raise UnknownDocument(self.name, id)
        return found

    def list(self, *, after: str | None = None, limit: int = 100) -> Page:
        """Documents by id, at most 1 to 1000, from behind `after` on."""
        self._check_open()
        _check_number("limit", limit, MOST_PAGE)
        found = self._records.page(after or "", limit + 1)
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    def search(self, query: str, k: int, *, where: Filter | None = None) -> tuple[Hit, ...]:
        """The `k` documents (1 to 1000) with the passages most similar to `query`, best first, equal ones in a fixed order.

        Of a query longer than the encoder's window the end is not read. Raises EncoderMismatch.
        """
        self._check_open()
        _check_number("k", k, MOST_HITS)
        if self._loaded() is None:
            return ()
        return self.search_vector(self._embedder.query(query), k, where=where)

    def search_vector(self, vector: Vectors, k: int, *, where: Filter | None = None) -> tuple[Hit, ...]:
        """As `search`, for a vector of the corpus' encoder, shape (dimension,); its length does not count."""
        self._check_open()
        _check_number("k", k, MOST_HITS)
        memory = self._loaded()
        if memory is None:
            return ()
        unit = _unit(vector, memory.dimension)
        hits = self._hits(memory.search(unit, k, where or EVERYTHING))
        if hits is None:
            with self._writing:  # a change is on disk and not in memory yet; now it is
                hits = self._hits(memory.search(unit, k, where or EVERYTHING))
        if hits is None:
            raise CorpusClosed(self.name)
        return hits

    def _hits(self, matches: Sequence[Match]) -> tuple[Hit, ...] | None:
        """The passages of matches; None where one of them has been removed since."""
        passages = self._records.passages([match.number for match in matches])
        if len(passages) < len(matches):
            return None
        found = [(passages[match.number], match.score) for match in matches]
        return tuple(Hit(passage.document, passage.text, score, passage.position) for passage, score in found)

    def snapshot(self, label: str) -> Snapshot:
        """Keeps the present state under a label. Raises InvalidName, SnapshotExists."""
        self._check_writable()
        check_name("snapshot", label)
        taken = self._snapshots.take(label)
        if taken is None:
            raise SnapshotExists(self.name, label)
        return taken

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Every state that is kept, the oldest first."""
        self._check_open()
        return self._snapshots.list()

    def restore(self, label: str) -> CorpusInfo:
        """Brings back the state of a snapshot, as a new version. Raises UnknownSnapshot."""
        self._check_writable()
        if not self._change(partial(self._snapshots.restore, label, self._embedder.dimension or 0)):
            raise self._unknown(label)
        return self.info()

    def delete_snapshot(self, label: str) -> None:
        """Forgets a snapshot and what only it has kept. Raises UnknownSnapshot."""
        self._check_writable()
        if not self._snapshots.delete(label):
            raise self._unknown(label)

    def _unknown(self, label: str) -> UnknownSnapshot:
        return UnknownSnapshot(self.name, label, [snapshot.label for snapshot in self._snapshots.list()])

    def close(self) -> None:
        """Lets go of files and memory; twice is once."""
        with self._writing:
            if not self._closed:
                self._closed = True
                if self._memory is not None:
                    self._memory.close()
                self._database.close()

    def settle(self, timeout_s: float | None = None) -> bool:
        """Waits until the index is fit for the corpus' size, which it becomes beside the searches; whether it is."""
        memory = self._memory
        return memory is None or memory.settle(timeout_s)

    def _change(self, commit: Callable[[], Committed]) -> Committed:
        """Stores a change, then makes it seen."""
        with self._writing:
            self._check_open()
            memory = self._loaded()
            change = commit()
            if change is not None and memory is not None:
                memory.apply(change)
            return change

    def _loaded(self) -> Memory | None:
        """What is searched, read from disk once; None before the first document."""
        dimension = self._embedder.dimension
        if self._memory is not None or dimension is None:
            return self._memory
        with self._writing:
            self._check_open()
            if self._memory is None:
                identity = self._database.facts()["identity"]
                self._memory = Memory(self._directory, self._records, identity, dimension, self._plan)
            return self._memory

    def _check_open(self) -> None:
        if self._closed:
            raise CorpusClosed(self.name)

    def _check_writable(self) -> None:
        self._check_open()
        if self._read_only:
            raise ReadOnlyCorpus(self.name)


def _check_number(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f"{name} must lie between 1 and {most}, not {value}")


def _unit(vector: Vectors, dimension: int) -> Vectors:
    given = np.asarray(vector, dtype=np.float32)
    length = float(np.linalg.norm(given))
    if given.shape != (dimension,) or not 0 < length < np.inf:
        raise ValueError(f"a vector must be {dimension} finite numbers, not all 0; this has shape {given.shape}")
    return np.asarray(given / length, dtype=np.float32)
