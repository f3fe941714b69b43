"""Vectors by number, whole and contiguous: what every index compares with in the end.

Rows are appended and marked as dead, so that a row stays where it is until `compact`. Numbers are given in rising order and
never twice. It is not safe to change while it is read; who owns it sees to that.
"""

import faiss
import numpy as np
import numpy.typing as npt

from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.growing import Growing
from trimtab.retrieval.threads import omp_threads

Numbers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]


class Matrix:
    """A row a vector."""

    def __init__(self, dimension: int, room: int = 0) -> None:
        """room: rows up to which it grows without copying; room that is not used yet costs no memory."""
        self._numbers: Growing[np.int64] = Growing(np.int64, room=room)
        self._vectors: Growing[np.float32] = Growing(np.float32, dimension, room=room)
        self._living: Growing[np.bool_] = Growing(np.bool_, room=room)
        self._dead = 0

    def __len__(self) -> int:
        return self.used - self._dead

    @property
    def used(self) -> int:
        """Rows, the dead ones among them."""
        return len(self._numbers)

    @property
    def living(self) -> npt.NDArray[np.bool_]:
        """Whether each row lives."""
        return self._living.values

    def add(self, numbers: Numbers, vectors: Vectors) -> Rows:
        """Appends vectors; their rows."""
        begin = self.used
        self._numbers.extend(numbers)
        self._vectors.extend(vectors)
        self._living.extend(np.ones(len(numbers), dtype=np.bool_))
        return np.arange(begin, self.used)

    def remove(self, numbers: Numbers) -> Rows:
        """Marks vectors as dead; the rows of those that lived."""
        rows = self.rows(numbers)
        self.living[rows] = False
        self._dead += len(rows)
        return rows

    def compact(self) -> None:
        """Leaves the living rows, in their order."""
        kept = self.living.copy()
        for column in (self._numbers, self._vectors, self._living):
            column.keep(kept)
        self._dead = 0

    def rows(self, numbers: Numbers) -> Rows:
        """Where the numbers lie, of those that live."""
        rows = places(self._numbers.values, numbers)
        return rows[self.living[rows]]

    def numbers(self, rows: Rows | None = None) -> Numbers:
        """The numbers of rows; of all that live."""
        return self._numbers.values[self.living if rows is None else rows]

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, shape (n, dimension)."""
        return self._vectors.values[rows]

    def products(self, vector: Vectors, rows: Rows | None = None) -> Vectors:
        """Inner products with one vector, of some rows or of every one, the dead ones among them.

        On this thread alone: to wait for others, on cores that an engine keeps busy, takes longer than to do without them.
        """
        held = self._vectors.values
        query = np.ascontiguousarray(vector, dtype=np.float32)
        found = np.empty(self.used if rows is None else len(rows), dtype=np.float32)
        if rows is None:
            faiss.fvec_inner_products_ny(*_pointers(found, query, held), held.shape[1], len(found))
        else:
            chosen = np.ascontiguousarray(rows, dtype=np.int64)
            with omp_threads(1):
                faiss.fvec_inner_products_by_idx(*_pointers(found, query, held, chosen), held.shape[1], 1, len(found))
        return found


def places(held: Numbers, wanted: Numbers) -> Rows:
    """Where in the sorted `held` each of `wanted` lies, of those that are there."""
    rows = np.searchsorted(held, wanted)
    inside = rows < len(held)
    rows, wanted = rows[inside], wanted[inside]
    found: Rows = rows[held[rows] == wanted]
    return found


def _pointers(*arrays: npt.NDArray[np.float32] | Rows) -> list[object]:
    return [faiss.swig_ptr(array) for array in arrays]
