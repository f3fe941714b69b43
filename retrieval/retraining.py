"""Makes the next index of a corpus beside the searches, from one that is changed meanwhile.

Numbers rise and stand for one vector for ever: what was added during the work is what has a higher number than the last one
copied. What was removed during the work is the only thing that has to be remembered.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from trimtab.retrieval.calibration import CANDIDATES, QUERIES, Truth, calibrate, truths
from trimtab.retrieval.clustering import centroids
from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.index import FlatIndex, Index
from trimtab.retrieval.ivf import Calibration, IvfIndex, Layout
from trimtab.retrieval.matrix import Numbers
from trimtab.retrieval.plan import IndexPlan
from trimtab.retrieval.threads import omp_threads
from trimtab.retrieval.view import View

BATCH = 8192
"""Vectors copied at once."""
AT_SWAP = 1000
"""Vectors that may be left to copy while searches wait."""

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """The work is not wanted any more; never leaves this module."""


class Retraining:
    """Keeps the index of a view fit for its size, in a thread of its own that lives while there is work."""

    def __init__(self, view: View, plan: IndexPlan, made: Callable[[Layout], None]) -> None:
        """made: called in that thread with the layout of each inverted file that has come into use."""
        self._view = view
        self._plan = plan
        self._made = made
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._stopped = threading.Event()

    def consider(self) -> None:
        """Starts the work where the index has outgrown its making; returns at once."""
        with self._lock:
            if self._worker is None and self._is_outgrown() and not self._stopped.is_set():
                self._worker = threading.Thread(target=self._work, name="trimtab-index", daemon=True)
                self._worker.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until there is no work; whether it is so."""
        worker = self._worker
        if worker is not None:
            worker.join(timeout_s)
        return self._worker is None

    def stop(self) -> None:
        """Gives the work up; returns when it has ended."""
        self._stopped.set()
        self.wait()

    def _is_outgrown(self) -> bool:
        index, size = self._view.index, len(self._view)
        if isinstance(index, IvfIndex):
            made = index.calibration.size
            return index.used > self._plan.growth * made or size * self._plan.growth < made
        return size > self._plan.exact_up_to

    def _work(self) -> None:
        try:
            while True:
                self._remake()
                with self._lock:
                    if self._stopped.is_set() or not self._is_outgrown():
                        self._worker = None
                        return
        except Stopped:
            self._give_up()
        except Exception:  # noqa: BLE001 - the border of the job: what fails here must not end searches; no second try is made
            _log.exception("the index could not be made anew; the one there is goes on")
            self._give_up()

    def _give_up(self) -> None:
        self._view.drop_account()
        with self._lock:
            self._stopped.set()
            self._worker = None

    def _remake(self) -> None:
        begin = time.monotonic()
        self._view.keep_account()
        with omp_threads(self._plan.making_threads):
            numbers = self._view.numbers(-1)
            index, last = self._ivf(numbers) if len(numbers) > self._plan.exact_up_to else self._flat(numbers)
            while len(numbers := self._view.numbers(last)) > AT_SWAP:
                last = self._copy(numbers, index)
        layout = index.layout() if isinstance(index, IvfIndex) else None
        self._view.swap(index, last)
        _log.info("made an index of %d passages in %.1f s", len(self._view), time.monotonic() - begin)
        if layout is not None:
            self._made(layout)

    def _flat(self, numbers: Numbers) -> tuple[Index, int]:
        index = FlatIndex(self._view.dimension)
        return index, self._copy(numbers, index)

    def _ivf(self, numbers: Numbers) -> tuple[Index, int]:
        plan, chance = self._plan, np.random.default_rng(self._plan.seed)
        lists = plan.lists(len(numbers))
        sample = self._sample(_some(numbers, lists * plan.sample, chance))
        if not len(sample):  # all were removed meanwhile
            return self._flat(numbers)
        count = min(lists, max(1, len(sample) // 8))
        found = centroids(sample, count, seed=plan.seed, check=self._check)
        index = IvfIndex(found, Calibration((1,), CANDIDATES[0], len(numbers)), plan.search_threads)
        exact = truths(*_shuffled(*self._view.held(_some(numbers, QUERIES[0], chance)), chance))
        last = self._copy(numbers, index, exact)
        calibrate(exact, index, plan.recall, self._check)
        return index, last

    def _sample(self, numbers: Numbers) -> Vectors:
        """Vectors of those that are still held, read in parts between which changes go on."""
        parts = [self._view.held(numbers[begin : begin + BATCH])[1] for begin in range(0, len(numbers), BATCH)]
        return np.concatenate(parts)

    def _copy(self, numbers: Numbers, index: Index, seen_by: Sequence[Truth] = ()) -> int:
        """Adds what is still held of some numbers; the highest of them, or -1."""
        for begin in range(0, len(numbers), BATCH):
            self._check()
            held, vectors = self._view.held(numbers[begin : begin + BATCH])
            index.add(held, vectors)
            for truth in seen_by:
                truth.see(held, vectors)
        return int(numbers[-1]) if len(numbers) else -1

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Stopped


def _some(numbers: Numbers, count: int, chance: np.random.Generator) -> Numbers:
    if count >= len(numbers):
        return numbers
    return np.sort(chance.choice(numbers, count, replace=False))


def _shuffled(numbers: Numbers, vectors: Vectors, chance: np.random.Generator) -> tuple[Numbers, Vectors]:
    order = chance.permutation(len(numbers))
    return numbers[order], vectors[order]
