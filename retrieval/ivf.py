"""Approximate nearest neighbours over an inverted file: vectors lie in the list of their nearest centroid, a search reads the
lists nearest to the query.

The lists (faiss') hold a byte a number, which is read four times as fast; the best candidates are compared with the vectors
themselves. A hash table tells where each lies, so that a removal is real, immediate and as cheap as an addition.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import cpu_count

import faiss
import numpy as np

from trimtab.retrieval.byte_codes import ByteCodes
from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.growing import Growing
from trimtab.retrieval.index import Lists, Scores, nearest, ranked
from trimtab.retrieval.matrix import Matrix, Numbers, Rows
from trimtab.retrieval.threads import omp_threads

GATHER_COST = 8
"""Vectors that can be passed over in lists in the time that it takes to compare with one that lies anywhere."""
PARALLEL_ABOVE = 32_768
"""Vectors read for one query above which several threads are faster than one."""
NEIGHBOURS = 10
"""Of a search that is calibrated."""
SHARES = (1, 4, 16, 64)
"""Searches of one vector in so many are calibrated."""
ROOM = 2.2
"""Vectors that there is room for, in those that there were at the making; by then it is made anew."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How many lists hold the neighbours."""

    probes: tuple[int, ...]
    """Lists to read for one query, by share searched."""
    candidates: int
    """Vectors beyond `k` to compare whole: a byte a number misjudges the order of near ones."""
    size: int
    """Number of vectors for which that was found."""

    def probes_for(self, asked: float, lists: int) -> int:
        """Lists to read for a search of so many vectors; between the shares that were calibrated, in proportion.

        Where there are more by now than were calibrated the same proportion goes on: the denser, the nearer the neighbours.
        """
        rarity = math.log(max(1 / ROOM, self.size / asked), SHARES[1])
        if rarity >= len(self.probes) - 1:
            return self.probes[-1] if rarity == len(self.probes) - 1 else lists
        below = int(rarity)  # towards 0
        fewer, more = self.probes[below], self.probes[below + 1]
        return min(lists, math.ceil(fewer * math.pow(more / fewer, rarity - below)))


@dataclass(frozen=True, slots=True)
class Layout:
    """All of an inverted file but the vectors."""

    centroids: Vectors
    """Shape (lists, dimension)."""
    calibration: Calibration
    numbers: Numbers
    """Sorted."""
    lists: Lists
    """Of each number."""


class IvfIndex:
    """An inverted file with given centroids."""

    def __init__(self, centroids: Vectors, calibration: Calibration, threads: int = 1) -> None:
        """threads: how many a search may use that reads much while no other runs."""
        count, dimension = centroids.shape
        self.calibration = calibration
        self.centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        """Shape (lists, dimension)."""
        self._codes = ByteCodes(dimension)
        room = int(ROOM * calibration.size)
        self._matrix = Matrix(dimension, room)
        self._lists: Growing[np.int32] = Growing(np.int32, room=room)
        self._quantizer = faiss.IndexFlatIP(dimension)
        self._quantizer.add(self._codes.turned(self.centroids))
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        self._ivf = faiss.IndexIVFScalarQuantizer(self._quantizer, dimension, count, kind, faiss.METRIC_INNER_PRODUCT, False)
        self._ivf.is_trained = True
        self._ivf.parallel_mode = 1  # threads share the lists of one query
        self._ivf.set_direct_map_type(faiss.DirectMap.Hashtable)
        self._most_threads = threads
        self._alone = threading.Lock()

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def used(self) -> int:
        """Vectors that it holds or has held: each takes room until the index is made anew."""
        return self._matrix.used

    def assign(self, vectors: Vectors) -> Lists:
        """The list that each vector belongs into."""
        lists: Lists = self._quantizer.search(self._codes.turned(vectors), 1)[1][:, 0]
        return lists

    def completed(self, layout: Layout, numbers: Numbers, vectors: Vectors) -> Lists:
        """The list of each vector: as it was laid out, or else assigned."""
        known = np.isin(numbers, layout.numbers, assume_unique=True)
        lists = np.empty(len(numbers), dtype=np.int64)
        lists[known] = layout.lists[np.searchsorted(layout.numbers, numbers[known])]
        if not known.all():
            lists[~known] = self.assign(vectors[~known])
        return lists

    def add(self, numbers: Numbers, vectors: Vectors, lists: Lists | None = None) -> None:
        """Takes vectors in."""
        chosen = np.ascontiguousarray(self.assign(vectors) if lists is None else lists, dtype=np.int64)
        rows = self._matrix.add(numbers, vectors)
        self._lists.extend(chosen)
        codes = self._codes.stored(vectors)
        with omp_threads(1):  # searches wait for this: no waiting for other threads
            self._ivf.add_core(len(rows), *(faiss.swig_ptr(array) for array in (codes, rows, chosen)))

    def remove(self, numbers: Numbers) -> None:
        """Takes vectors out."""
        rows = self._matrix.remove(numbers)
        if len(rows):
            self._ivf.remove_ids(faiss.IDSelectorArray(rows))

    def search(self, vector: Vectors, k: int, among: Numbers | None = None) -> tuple[Scores, Numbers]:
        """The `k` largest inner products and their numbers, of the lists that are read.

        The fewer vectors are searched, by `among` or because many were removed, the more lists are read; or, where that is
        faster, each vector by its number. Then the result is exact.
        """
        asked = len(self) if among is None else len(among)
        if not asked:
            return np.empty(0), np.empty(0, dtype=np.int64)
        alike = asked * NEIGHBOURS / max(k, NEIGHBOURS)  # the last of k lies as far as the 10th of so many
        probes = self.calibration.probes_for(alike, len(self.centroids))
        if asked * GATHER_COST <= probes * len(self) / len(self.centroids):
            return nearest(self._matrix, vector, k, self.numbers() if among is None else among)
        return self.probe(vector, k, probes, among)

    def probe(self, vector: Vectors, k: int, probes: int, among: Numbers | None = None) -> tuple[Scores, Numbers]:
        """The same, reading this many lists."""
        selector = None if among is None else _selector(self._matrix.rows(among), self.used)
        parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        with self._threads(probes * len(self) / len(self.centroids)):
            _, found = self._ivf.search(self._codes.query(vector)[None], k + self.calibration.candidates, params=parameters)
        return ranked(self._matrix, found[0][found[0] >= 0], vector, k)

    def numbers(self) -> Numbers:
        """What it holds, sorted."""
        return self._matrix.numbers()

    def vectors(self, numbers: Numbers) -> Vectors:
        """Vectors of numbers that it holds."""
        return self._matrix.vectors(self._matrix.rows(numbers))

    def layout(self) -> Layout:
        """Which number lies in which list, with the centroids."""
        lists = self._lists.values[self._matrix.living].astype(np.int64)
        return Layout(self.centroids, self.calibration, self.numbers(), lists)

    @contextmanager
    def _threads(self, read: float) -> Iterator[None]:
        """Several threads for a search that reads much while no other does, one for the rest."""
        most = min(self._most_threads, cpu_count() or 1)
        alone = read > PARALLEL_ABOVE and most > 1 and self._alone.acquire(blocking=False)
        try:
            with omp_threads(most if alone else 1):
                yield
        finally:
            if alone:
                self._alone.release()


def _selector(rows: Rows, total: int) -> faiss.IDSelector:
    """One bit a row: the test inside a list is a look at memory that stays in the cache."""
    chosen = np.zeros(total, dtype=np.bool_)
    chosen[rows] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
