"""Approximate nearest neighbours over an inverted file: vectors lie in the list of their nearest centroid, a search reads the
lists nearest to the query.

The vectors are stored whole (faiss' IVF flat) with a hash table of where each lies, so that a removal is real, immediate and as
cheap as an addition.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import cpu_count

import faiss
import numpy as np

from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.index import Lists, Numbers, Scores, best, ranked

SPARE = 6
"""Candidates beyond `k`, so that rounding inside faiss does not decide which of two nearly equal ones is left out."""
GATHER_COST = 60
"""Vectors that can be passed over in lists in the time that it takes to read one by its number."""
NEIGHBOURS = 10
"""Of a search that is calibrated."""
SHARES = (1, 4, 16, 64)
"""Searches of one vector in so many are calibrated."""
PARALLEL_ABOVE = 8192
"""Vectors read for one query above which several threads are faster than one."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How many lists hold the neighbours."""

    probes: tuple[int, ...]
    """Lists to read for one query, by share searched."""
    size: int
    """Number of vectors for which that was found."""

    def probes_for(self, asked: float, lists: int) -> int:
        """Lists to read for a search of so many vectors; between the shares that were calibrated, in proportion."""
        rarity = math.log(max(1.0, self.size / asked), SHARES[1])
        if rarity >= len(self.probes) - 1:
            return self.probes[-1] if rarity == len(self.probes) - 1 else lists
        below = int(rarity)
        fewer, more = self.probes[below], self.probes[below + 1]
        return min(lists, math.ceil(fewer * math.pow(more / fewer, rarity - below)))


@dataclass(frozen=True, slots=True)
class Layout:
    """All of an inverted file but the vectors."""

    centroids: Vectors
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
        self._quantizer = faiss.IndexFlatIP(dimension)
        self._quantizer.add(self.centroids)
        self._ivf = faiss.IndexIVFFlat(self._quantizer, dimension, count, faiss.METRIC_INNER_PRODUCT)
        self._ivf.is_trained = True
        self._ivf.parallel_mode = 1  # threads share the lists of one query
        self._ivf.set_direct_map_type(faiss.DirectMap.Hashtable)
        self._most_threads = threads
        self._alone = threading.Lock()

    def __len__(self) -> int:
        return int(self._ivf.ntotal)

    def assign(self, vectors: Vectors) -> Lists:
        """The list that each vector belongs into."""
        lists: Lists = self._quantizer.search(np.ascontiguousarray(vectors), 1)[1][:, 0]
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
        """Takes vectors in; `lists` where they are known."""
        given = np.ascontiguousarray(vectors, dtype=np.float32)
        ids = np.ascontiguousarray(numbers, dtype=np.int64)
        chosen = np.ascontiguousarray(self.assign(given) if lists is None else lists, dtype=np.int64)
        pointers = (faiss.swig_ptr(array) for array in (given, ids, chosen))
        self._ivf.add_core(len(ids), *pointers)

    def remove(self, numbers: Numbers) -> None:
        """Takes vectors out."""
        if len(numbers):
            self._ivf.remove_ids(faiss.IDSelectorArray(np.ascontiguousarray(numbers)))

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
            numbers = self.numbers() if among is None else among
            return best(self.vectors(numbers), numbers, vector, k)
        return self.probe(vector, k, probes, among)

    def probe(self, vector: Vectors, k: int, probes: int, among: Numbers | None = None) -> tuple[Scores, Numbers]:
        """The same, reading this many lists."""
        parameters = faiss.SearchParametersIVF(nprobe=probes, sel=None if among is None else _selector(among))
        with self._threads(probes * len(self) / len(self.centroids)):
            _, found = self._ivf.search(vector[None], k + SPARE, params=parameters)
        numbers: Numbers = found[0][found[0] >= 0]
        return ranked(self.vectors(numbers), numbers, vector, k)

    def numbers(self) -> Numbers:
        """What it holds, sorted."""
        return self.layout().numbers

    def vectors(self, numbers: Numbers) -> Vectors:
        """Vectors of numbers that it holds."""
        vectors: Vectors = self._ivf.reconstruct_batch(np.ascontiguousarray(numbers, dtype=np.int64))
        return vectors

    def layout(self) -> Layout:
        """Which number lies in which list, with the centroids."""
        stored = self._ivf.invlists
        sizes = [stored.list_size(number) for number in range(len(self.centroids))]
        parts = [faiss.rev_swig_ptr(stored.get_ids(number), size) for number, size in enumerate(sizes) if size]
        numbers = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        lists = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
        order = np.argsort(numbers)
        return Layout(self.centroids, self.calibration, numbers[order], lists[order])

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


@contextmanager
def omp_threads(count: int) -> Iterator[None]:
    """Lets what this thread asks of faiss use so many threads."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _selector(among: Numbers) -> faiss.IDSelector:
    """One bit a number: the test inside a list is a look at memory that stays in the cache."""
    chosen = np.zeros(int(among[-1]) + 1, dtype=np.bool_)
    chosen[among] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
