"""Exact nearest neighbours, and what every index of passages can do.

An index knows numbers and vectors, no documents. Numbers are given in rising order and never twice. It is not safe to change
while it is searched; who owns it sees to that.
"""

from typing import Protocol

import faiss
import numpy as np
import numpy.typing as npt

from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.growing import Growing

Numbers = npt.NDArray[np.int64]
Lists = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

ROUNDING = 1e-5
"""More than two float32 sums of one inner product of unit vectors differ."""
GATHER_BELOW = 0.25
"""Share of the vectors up to which copying them out is faster than multiplying them all."""


class Index(Protocol):
    """Vectors by number."""

    def __len__(self) -> int:
        """How many vectors it holds."""
        ...

    def assign(self, vectors: Vectors) -> Lists | None:
        """Where vectors will go, to be worked out before anyone has to wait for `add`; None where that costs nothing."""
        ...

    def add(self, numbers: Numbers, vectors: Vectors, lists: Lists | None = None) -> None:
        """Takes vectors in, where `assign` has said; the numbers rise and are above all before."""
        ...

    def remove(self, numbers: Numbers) -> None:
        """Takes vectors out; numbers that are not there are left alone."""
        ...

    def search(self, vector: Vectors, k: int, among: Numbers | None = None) -> tuple[Scores, Numbers]:
        """The `k` largest inner products and their numbers, best first, equal ones by number; fewer where there are fewer.

        among: only these, sorted.
        """
        ...

    def numbers(self) -> Numbers:
        """What it holds, sorted."""
        ...

    def vectors(self, numbers: Numbers) -> Vectors:
        """Vectors of numbers that it holds, shape (n, dimension)."""
        ...


class FlatIndex:
    """Compares with every vector."""

    def __init__(self, dimension: int) -> None:
        self._numbers: Growing[np.int64] = Growing(np.int64)
        self._vectors: Growing[np.float32] = Growing(np.float32, dimension)
        self._living: Growing[np.bool_] = Growing(np.bool_)
        self._dead = 0

    def __len__(self) -> int:
        return len(self._numbers) - self._dead

    def assign(self, vectors: Vectors) -> None:
        """There is one place for all."""

    def add(self, numbers: Numbers, vectors: Vectors, lists: Lists | None = None) -> None:
        """Takes vectors in."""
        self._numbers.extend(numbers)
        self._vectors.extend(vectors)
        self._living.extend(np.ones(len(numbers), dtype=np.bool_))

    def remove(self, numbers: Numbers) -> None:
        """Takes vectors out."""
        rows = self._rows(numbers)
        self._living.values[rows] = False
        self._dead += len(rows)
        if self._dead > 64 + len(self) // 4:
            kept = self._living.values.copy()
            for column in (self._numbers, self._vectors, self._living):
                column.keep(kept)
            self._dead = 0

    def search(self, vector: Vectors, k: int, among: Numbers | None = None) -> tuple[Scores, Numbers]:
        """The `k` largest inner products and their numbers."""
        rows = None if among is None else self._rows(among)
        if rows is not None and len(rows) < GATHER_BELOW * len(self._numbers):
            return best(self._vectors.values[rows], self._numbers.values[rows], vector, k)
        allowed = self._living.values if rows is None else np.zeros(len(self._numbers), dtype=np.bool_)
        if rows is not None:
            allowed[rows] = True
        return best(self._vectors.values, self._numbers.values, vector, k, allowed)

    def numbers(self) -> Numbers:
        """What it holds, sorted."""
        return self._numbers.values[self._living.values]

    def vectors(self, numbers: Numbers) -> Vectors:
        """Vectors of numbers that it holds."""
        return self._vectors.values[self._rows(numbers)]

    def _rows(self, numbers: Numbers) -> npt.NDArray[np.intp]:
        """Where the numbers lie, of those that are there."""
        rows = places(self._numbers.values, numbers)
        return rows[self._living.values[rows]]


def places(held: Numbers, wanted: Numbers) -> npt.NDArray[np.intp]:
    """Where in the sorted `held` each of `wanted` lies, of those that are there."""
    rows = np.searchsorted(held, wanted)
    inside = rows < len(held)
    rows, wanted = rows[inside], wanted[inside]
    found: npt.NDArray[np.intp] = rows[held[rows] == wanted]
    return found


def best(
    vectors: Vectors, numbers: Numbers, vector: Vectors, k: int, allowed: npt.NDArray[np.bool_] | None = None
) -> tuple[Scores, Numbers]:
    """The `k` of `vectors` with the largest inner products with `vector`, exactly, equal ones by number."""
    scores = _inner_products(vectors, vector)
    if allowed is not None:
        scores[~allowed] = -np.inf
    rows = np.arange(len(scores))
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = np.flatnonzero(scores >= least - ROUNDING)
    if allowed is not None:
        rows = rows[allowed[rows]]
    return ranked(vectors[rows], numbers[rows], vector, k)


def _inner_products(vectors: Vectors, vector: Vectors) -> Vectors:
    """Of each of the contiguous `vectors` with one, on this thread alone: BLAS would wait for others that are busy."""
    products = np.empty(len(vectors), dtype=np.float32)
    query = np.ascontiguousarray(vector, dtype=np.float32)
    pointers = (faiss.swig_ptr(array) for array in (products, query, vectors))
    faiss.fvec_inner_products_ny(*pointers, vectors.shape[1], len(vectors))
    return products


def ranked(vectors: Vectors, numbers: Numbers, vector: Vectors, k: int) -> tuple[Scores, Numbers]:
    """The best `k` of a few candidates. Sums in float64 and row by row: equal vectors have equal scores wherever they lie."""
    scores = (vectors.astype(np.float64) * vector.astype(np.float64)).sum(axis=1)
    order = np.lexsort((numbers, -scores))[:k]
    return scores[order], numbers[order]
