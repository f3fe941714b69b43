"""Exact nearest neighbours, and what every index of passages can do.

An index knows numbers and vectors, no documents. Numbers are given in rising order and never twice. It is not safe to change
while it is searched; who owns it sees to that.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.matrix import Matrix, Numbers, Rows

Lists = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

ROUNDING = 1e-5
"""More than two float32 sums of one inner product of unit vectors differ."""


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
        self._matrix = Matrix(dimension)

    def __len__(self) -> int:
        return len(self._matrix)

    def assign(self, vectors: Vectors) -> None:
        """There is one place for all."""

    def add(self, numbers: Numbers, vectors: Vectors, lists: Lists | None = None) -> None:
        """Takes vectors in."""
        self._matrix.add(numbers, vectors)

    def remove(self, numbers: Numbers) -> None:
        """Takes vectors out."""
        self._matrix.remove(numbers)
        if self._matrix.used > 64 + len(self) * 5 // 4:
            self._matrix.compact()

    def search(self, vector: Vectors, k: int, among: Numbers | None = None) -> tuple[Scores, Numbers]:
        """The `k` largest inner products and their numbers."""
        return nearest(self._matrix, vector, k, among)

    def numbers(self) -> Numbers:
        """What it holds, sorted."""
        return self._matrix.numbers()

    def vectors(self, numbers: Numbers) -> Vectors:
        """Vectors of numbers that it holds."""
        return self._matrix.vectors(self._matrix.rows(numbers))


def nearest(matrix: Matrix, vector: Vectors, k: int, among: Numbers | None = None) -> tuple[Scores, Numbers]:
    """The `k` of all vectors, or of some, with the largest inner products with `vector`, exactly, equal ones by number."""
    rows = None if among is None else matrix.rows(among)
    scores = matrix.products(vector, rows)
    if rows is None and len(matrix) < matrix.used:
        scores[~matrix.living] = -np.inf
    chosen = _best(scores, k)
    return ranked(matrix, chosen if rows is None else rows[chosen], vector, k)


def ranked(matrix: Matrix, rows: Rows, vector: Vectors, k: int) -> tuple[Scores, Numbers]:
    """The best `k` of a few candidates. Sums in float64 and row by row: equal vectors have equal scores wherever they lie."""
    scores = (matrix.vectors(rows).astype(np.float64) * vector.astype(np.float64)).sum(axis=1)
    numbers = matrix.numbers(rows)
    order = np.lexsort((numbers, -scores))[:k]
    return scores[order], numbers[order]


def _best(scores: Vectors, k: int) -> Rows:
    """Places of the `k` largest scores, and of what may be as large but for rounding; none of those that are -inf."""
    least = -np.inf if k >= len(scores) else np.partition(scores, len(scores) - k)[len(scores) - k] - ROUNDING
    return np.flatnonzero((scores >= least) & (scores > -np.inf))
