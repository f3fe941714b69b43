"""How many lists of an inverted file to read: measured on the vectors that it holds, against exact search."""

from dataclasses import dataclass, field

import numpy as np

from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.index import Numbers
from trimtab.retrieval.ivf import IvfIndex

NEIGHBOURS = 10
QUERIES = 300
"""Stored vectors that are searched for; the standard error of a recall of .96 is then about .007 on clustered data."""


@dataclass(slots=True)
class Truth:
    """The exact neighbours of some stored vectors, gathered while all vectors pass by once."""

    numbers: Numbers
    """Of the queries."""
    queries: Vectors
    _scores: Vectors = field(init=False)
    _found: Numbers = field(init=False)

    def __post_init__(self) -> None:
        self._scores = np.full((len(self.queries), NEIGHBOURS), -np.inf, dtype=np.float32)
        self._found = np.full((len(self.queries), NEIGHBOURS), -1, dtype=np.int64)

    def see(self, numbers: Numbers, vectors: Vectors) -> None:
        """Takes more vectors into account. A query is no neighbour of its own."""
        scores = self.queries @ vectors.T
        scores[self.numbers[:, None] == numbers[None]] = -np.inf
        candidates = np.concatenate([self._scores, scores], axis=1)
        order = np.argpartition(-candidates, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        known = np.concatenate([self._found, np.broadcast_to(numbers, scores.shape)], axis=1)
        self._scores = np.take_along_axis(candidates, order, axis=1)
        self._found = np.take_along_axis(known, order, axis=1)

    def recall(self, index: IvfIndex, probes: int) -> float:
        """Share of the true neighbours that a search of `probes` lists finds."""
        hits = total = 0
        for number, query, scores, true in zip(self.numbers, self.queries, self._scores, self._found, strict=True):
            expected = set(true[scores > -np.inf].tolist())
            found = index.probe(query, NEIGHBOURS + 1, probes)[1]
            hits += len(expected.intersection(found[found != number][:NEIGHBOURS].tolist()))
            total += len(expected)
        return hits / total if total else 1.0


def fewest_probes(truth: Truth, index: IvfIndex, target: float) -> int:
    """The smallest number of lists that reaches the recall, in steps of an eighth; all lists where none does."""
    lists = len(index.centroids)
    enough = 1
    while enough < lists and truth.recall(index, enough) < target:
        enough = min(2 * enough, lists)
    step = max(1, enough // 8)
    for probes in range(enough // 2 + step, enough, step):
        if truth.recall(index, probes) >= target:
            return probes
    return enough
