"""A corpus as it lies in memory: the view that is searched, the work that keeps its index fit, and the file that keeps that."""

import logging
from pathlib import Path

from trimtab.retrieval.documents import Filter
from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.ivf import IvfIndex, Layout
from trimtab.retrieval.layout_file import load_layout, save_layout
from trimtab.retrieval.plan import IndexPlan
from trimtab.retrieval.records import Change, Records
from trimtab.retrieval.retraining import Retraining
from trimtab.retrieval.view import Match, View

_log = logging.getLogger(__name__)

STALE = 0.1
"""Share of passages that the file does not know above which it is written anew."""


class Memory:
    """What is searched, read from the records once and changed with them."""

    def __init__(self, directory: Path, records: Records, identity: str, dimension: int, plan: IndexPlan) -> None:
        """identity: of the corpus, so that another one's file is not taken for its own."""
        self._directory = directory
        self._identity = identity
        layout = load_layout(directory, identity, dimension)
        self._kept = len(layout.numbers) if layout else 0
        self._view = View.of(records.living(dimension), dimension, layout, plan.search_threads)
        self._retraining = Retraining(self._view, plan, self._keep)
        self._retraining.consider()

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._view.dimension

    def apply(self, change: Change) -> None:
        """Makes a stored change seen, at once and as a whole."""
        self._view.apply(change)
        self._retraining.consider()

    def search(self, vector: Vectors, k: int, where: Filter) -> list[Match]:
        """The best passage of each of the `k` nearest documents that the filter admits; as `View.search`."""
        return self._view.search(vector, k, where)

    def settle(self, timeout_s: float | None = None) -> bool:
        """Waits until the index is fit for its size; whether it is."""
        return self._retraining.wait(timeout_s)

    def close(self) -> None:
        """Ends the work on the index and keeps what it has come to."""
        self._retraining.stop()
        index = self._view.index
        if isinstance(index, IvfIndex) and abs(len(index) - self._kept) > STALE * len(index):
            self._keep(index.layout())

    def _keep(self, layout: Layout) -> None:
        try:
            save_layout(self._directory, self._identity, layout)
        except OSError as error:
            _log.warning("the index in %s is not kept and will be made anew at the next start: %s", self._directory, error)
        else:
            self._kept = len(layout.numbers)
