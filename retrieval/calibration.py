"""How many lists of an inverted file to read: measured on the vectors that it holds, against exact search.

It is measured for searches of all and for searches of a share of them: with fewer to choose from, the neighbours lie farther
away, in more lists.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.ivf import NEIGHBOURS, SHARES, Calibration, IvfIndex
from trimtab.retrieval.matrix import Numbers

QUERIES = (300, 100, 60, 40)
"""Stored vectors that are searched for, by share. With 300 the standard error of a recall of .965 is about .006 on clustered
data; smaller shares cost more to search, and count less."""
CANDIDATES = (20, 80, 320, 1280)
"""Numbers of candidates to choose from."""


class Truth:
    """The exact neighbours of some stored vectors among a share of all, gathered while all vectors pass by once."""

    def __init__(self, numbers: Numbers, queries: Vectors, every: int) -> None:
        """numbers, queries: of the vectors that are searched for. every: neighbours are those whose number it divides."""
        self._numbers = numbers
        self._queries = queries
        self._every = every
        self._scores = np.full((len(queries), NEIGHBOURS), -np.inf, dtype=np.float32)
        self._found = np.full((len(queries), NEIGHBOURS), -1, dtype=np.int64)

    def see(self, numbers: Numbers, vectors: Vectors) -> None:
        """Takes more vectors into account. A query is no neighbour of its own."""
        chosen = numbers % self._every == 0
        numbers, vectors = numbers[chosen], vectors[chosen]
        scores = self._queries @ vectors.T
        scores[self._numbers[:, None] == numbers[None]] = -np.inf
        candidates = np.concatenate([self._scores, scores], axis=1)
        order = np.argpartition(-candidates, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        known = np.concatenate([self._found, np.broadcast_to(numbers, scores.shape)], axis=1)
        self._scores = np.take_along_axis(candidates, order, axis=1)
        self._found = np.take_along_axis(known, order, axis=1)

    def recall(self, index: IvfIndex, probes: int, check: Callable[[], None]) -> float:
        """Share of the true neighbours that a search of `probes` lists finds."""
        held = index.numbers()
        among = None if self._every == 1 else held[held % self._every == 0]
        hits = total = 0
        for number, query, scores, true in zip(self._numbers, self._queries, self._scores, self._found, strict=True):
            check()
            expected = set(true[scores > -np.inf].tolist())
            found = index.probe(query, NEIGHBOURS + 1, probes, among)[1]
            hits += len(expected.intersection(found[found != number][:NEIGHBOURS].tolist()))
            total += len(expected)
        return hits / total if total else 1.0


def truths(numbers: Numbers, vectors: Vectors) -> list[Truth]:
    """For each share, the searches to measure; made from stored vectors, the more the better."""
    return [Truth(numbers[:count], vectors[:count], share) for share, count in zip(SHARES, QUERIES, strict=True)]


def calibrate(truths: Sequence[Truth], index: IvfIndex, target: float, check: Callable[[], None]) -> None:
    """Sets an index to the fewest lists that reach the recall, for each share.

    Before that, to the fewest candidates with which reading all lists leaves at most half of the misses that are allowed.
    """
    for candidates in CANDIDATES:
        index.calibration = Calibration((1,), candidates, len(index))
        if truths[0].recall(index, len(index.centroids), check) >= (1 + target) / 2:
            break
    probes: list[int] = []
    for truth in truths:
        probes.append(_fewest(truth, index, target, probes[-1] if probes else 1, check))
    index.calibration = replace(index.calibration, probes=tuple(probes))


def _fewest(truth: Truth, index: IvfIndex, target: float, least: int, check: Callable[[], None]) -> int:
    """The smallest number of lists from `least` on that reaches the recall, to a sixteenth; all where none below does."""
    lists = len(index.centroids)
    enough = least
    while enough < lists and truth.recall(index, enough, check) < target:
        enough = min(2 * enough, lists)
    step = max(1, enough // 16)
    for probes in range(max(least, enough // 2) + step, enough, step):
        if truth.recall(index, probes, check) >= target:
            return probes
    return enough
