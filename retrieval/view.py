"""What searches read: index and columns in memory, changed together, so that a search sees a change whole or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.retrieval.columns import Added, Columns
from trimtab.retrieval.documents import Filter
from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.index import FlatIndex, Index
from trimtab.retrieval.ivf import IvfIndex, Layout
from trimtab.retrieval.locking import SharedLock
from trimtab.retrieval.matrix import Numbers
from trimtab.retrieval.records import Change, Row


@dataclass(frozen=True, slots=True)
class Match:
    """The best passage of a document."""

    number: int
    score: float


class View:
    """The passages of one state of a corpus."""

    def __init__(self, index: Index, dimension: int) -> None:
        self.dimension = dimension
        """Length of the vectors."""
        self._lock = SharedLock()
        self._columns = Columns()
        self._index = index
        self._gone: list[Numbers] | None = None

    @classmethod
    def of(
        cls, passages: Iterable[tuple[Sequence[Row], Vectors]], dimension: int, layout: Layout | None = None, threads: int = 1
    ) -> "View":
        """A view of stored passages, which come in batches in the order of their numbers.

        layout: the lists that they are searched by; without one every passage is compared. threads: as of `IvfIndex`.
        """
        if layout is None:
            view = cls(FlatIndex(dimension), dimension)
            for rows, vectors in passages:
                view.apply(Change(0, (), rows, vectors, 0))
            return view
        index = IvfIndex(layout.centroids, layout.reach, layout.calibration, threads)
        view = cls(index, dimension)
        for rows, vectors in passages:
            view._columns.extend(Added.of(rows))
            numbers = np.asarray([row.number for row in rows], dtype=np.int64)
            index.add(numbers, vectors, index.completed(layout, numbers, vectors))
        return view

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def index(self) -> Index:
        """What is searched now; another one after `swap`."""
        return self._index

    def apply(self, change: Change) -> None:
        """Makes a change seen, at once and as a whole."""
        removed = np.asarray(change.removed, dtype=np.int64)
        added = np.asarray([row.number for row in change.added], dtype=np.int64)
        columns, index = Added.of(change.added), self._index
        lists = index.assign(change.vectors) if len(added) else None
        with self._lock.exclusive():
            self._columns.remove(removed)
            self._index.remove(removed)
            if self._gone is not None:
                self._gone.append(removed)
            if len(added):
                self._columns.extend(columns)
                self._index.add(added, change.vectors, lists if self._index is index else None)

    def search(self, vector: Vectors, k: int, where: Filter) -> list[Match]:
        """The best passage of each of the `k` nearest documents that the filter admits, best first, equal ones by age.

        vector: unit, shape (dimension,).
        """
        with self._lock.shared():
            among = None if where.is_empty else self._columns.admitted(where)
            total = len(self._columns) if among is None else len(among)
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

    def numbers(self, above: int) -> Numbers:
        """What is held of the numbers above one, sorted."""
        with self._lock.shared():
            return self._columns.above(above)

    def held(self, numbers: Numbers) -> tuple[Numbers, Vectors]:
        """Those of the sorted numbers that are still held, with their vectors."""
        with self._lock.shared():
            still = self._columns.held(numbers)
            return still, self._index.vectors(still)

    def keep_account(self) -> None:
        """Begins to remember what is removed, for the index that takes this one's place."""
        with self._lock.exclusive():
            self._gone = []

    def drop_account(self) -> None:
        """There will be no such index."""
        with self._lock.exclusive():
            self._gone = None

    def swap(self, index: Index, last: int) -> None:
        """Searches another index from now on: one of what was held, up to the number `last`, since `keep_account`."""
        with self._lock.exclusive():
            new = self._columns.above(last)
            if len(new):
                index.add(new, self._index.vectors(new))
            index.remove(np.concatenate(self._gone or [np.empty(0, dtype=np.int64)]))
            self._gone = None
            before, self._index = self._index, index
        del before  # to free a gigabyte takes a while: nobody should wait for it
