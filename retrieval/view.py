"""What searches read: index and columns in memory, changed together, so that a search sees a change whole or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.retrieval.columns import Columns
from trimtab.retrieval.documents import Filter
from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.index import FlatIndex, Index
from trimtab.retrieval.locking import SharedLock
from trimtab.retrieval.records import Change, Row


@dataclass(frozen=True, slots=True)
class Match:
    """The best passage of a document."""

    number: int
    score: float


class View:
    """The passages of one state of a corpus."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        """Length of the vectors."""
        self._lock = SharedLock()
        self._columns = Columns()
        self._index: Index = FlatIndex(dimension)

    @classmethod
    def of(cls, passages: Iterable[tuple[Sequence[Row], Vectors]], dimension: int) -> "View":
        """A view of stored passages, which come in batches in the order of their numbers."""
        view = cls(dimension)
        for rows, vectors in passages:
            view.apply(Change(0, (), rows, vectors, 0))
        return view

    def __len__(self) -> int:
        return len(self._columns)

    def apply(self, change: Change) -> None:
        """Makes a change seen, at once and as a whole."""
        removed = np.asarray(change.removed, dtype=np.int64)
        added = np.asarray([row.number for row in change.added], dtype=np.int64)
        with self._lock.exclusive():
            self._columns.remove(removed)
            self._index.remove(removed)
            if len(added):
                self._columns.extend(change.added)
                self._index.add(added, change.vectors)

    def search(self, vector: Vectors, k: int, where: Filter) -> list[Match]:
        """The best passage of each of the `k` nearest documents that the filter admits, best first, equal ones by age."""
        with self._lock.shared():
            among = None if where.is_empty else self._columns.admitted(where)
            total = len(self._index) if among is None else len(among)
            if not total:
                return []
            wanted = min(k, total)
            while True:
                scores, numbers = self._index.search(vector, wanted, among)
                _, firsts = np.unique(self._columns.documents(numbers), return_index=True)
                if len(firsts) >= k or wanted >= total:
                    break
                wanted = min(2 * wanted, total)
        chosen = np.sort(firsts)[:k]
        return [Match(int(numbers[row]), float(scores[row])) for row in chosen]
