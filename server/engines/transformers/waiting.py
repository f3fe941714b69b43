"""Rows that wait for a place, in order of priority, then arrival, then index."""

import heapq
from collections.abc import Iterable

from trimtab.server.engines.transformers.row import Row


class RowQueue:
    """A priority queue; rows of jobs that ended meanwhile are dropped when they come up."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Row]] = []

    def put(self, rows: Iterable[Row]) -> None:
        """Adds rows; one that was taken before gets its old place."""
        for row in rows:
            heapq.heappush(self._heap, (row.job.priority, row.job.arrival, row.index, row))

    def take(self, most: int) -> list[Row]:
        """The next rows, up to that many."""
        taken: list[Row] = []
        while self._heap and len(taken) < most:
            row = heapq.heappop(self._heap)[-1]
            if not row.job.ended:
                taken.append(row)
        return taken

    def __len__(self) -> int:
        """Rows that wait."""
        return sum(not row.job.ended for *_, row in self._heap)

    def __bool__(self) -> bool:
        """Whether anything is queued; ended rows that were not yet dropped count."""
        return bool(self._heap)
