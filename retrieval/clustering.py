"""Centroids of unit vectors: spherical k-means in two levels, at a fraction of one level's cost.

The work can be given up at once.
"""

from collections.abc import Callable, Iterator

import faiss
import numpy as np
import numpy.typing as npt

from trimtab.retrieval.encoding import Vectors

BLOCK = 8192
"""Vectors between two looks at whether to stop."""
COARSE_ROUNDS = 6
FINE_ROUNDS = 8
LAST_ROUNDS = 2
"""Rounds over all vectors and centroids at the end; more hardly change which lists hold a query's neighbours."""

Labels = npt.NDArray[np.int64]


def centroids(vectors: Vectors, count: int, *, seed: int, check: Callable[[], None]) -> Vectors:
    """`count` unit vectors near which the given ones lie, shape (count, dimension).

    vectors: a sample, unit, more than `count`. check: called about once a second; what it raises ends the work.
    """
    chance = np.random.default_rng(seed)
    groups = max(1, round(count**0.5))
    if groups < 4:
        return _lloyd(vectors, _drawn(vectors, count, chance), FINE_ROUNDS, chance, check)
    coarse = _lloyd(vectors, _drawn(vectors, groups, chance), COARSE_ROUNDS, chance, check)
    labels = _assigned(vectors, coarse, check)
    parts = []
    for label, share in enumerate(_shares(np.bincount(labels, minlength=groups), count)):
        if share:
            members = vectors[labels == label]
            parts.append(_lloyd(members, _drawn(members, share, chance), FINE_ROUNDS, chance, check))
    return _lloyd(vectors, np.concatenate(parts), LAST_ROUNDS, chance, check)


def _shares(sizes: npt.NDArray[np.intp], count: int) -> list[int]:
    """How many of `count` centroids each group gets: by its size, never more than it has members; all are given out."""
    exact = sizes * (count / sizes.sum())
    shares = np.minimum(np.floor(exact).astype(np.int64), sizes)
    for group in np.argsort(shares - exact)[: count - int(shares.sum())]:
        shares[group] += 1
    return [int(share) for share in shares]


def _drawn(vectors: Vectors, count: int, chance: np.random.Generator) -> Vectors:
    return vectors[np.sort(chance.choice(len(vectors), count, replace=False))]


def _lloyd(vectors: Vectors, start: Vectors, rounds: int, chance: np.random.Generator, check: Callable[[], None]) -> Vectors:
    """Rounds of assigning and averaging; a centroid that has lost all its vectors takes one at random."""
    current = start
    for _ in range(rounds):
        labels = _assigned(vectors, current, check)
        order = np.argsort(labels, kind="stable")
        held, begins = np.unique(labels[order], return_index=True)
        sums = np.concatenate([_sums(vectors, order, part) for part in _runs(begins, len(order))])
        current = _drawn(vectors, len(current), chance)
        current[held] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return current


def _runs(begins: npt.NDArray[np.intp], total: int) -> Iterator[npt.NDArray[np.intp]]:
    """Neighbouring groups together, each run with the end of its last: about a block of vectors in each."""
    bounds = np.append(begins, total)
    first = 0
    while first < len(begins):
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + BLOCK)) - 1)
        yield bounds[first : last + 1]
        first = last


def _sums(vectors: Vectors, order: npt.NDArray[np.intp], bounds: npt.NDArray[np.intp]) -> Vectors:
    """The sum of each group of a run."""
    members = vectors[order[bounds[0] : bounds[-1]]]
    sums: Vectors = np.add.reduceat(members, bounds[:-1] - bounds[0], axis=0)
    return sums


def _assigned(vectors: Vectors, current: Vectors, check: Callable[[], None]) -> Labels:
    """The nearest centroid of each vector."""
    index = faiss.IndexFlatIP(current.shape[1])
    index.add(np.ascontiguousarray(current))
    labels = np.empty(len(vectors), dtype=np.int64)
    for begin in range(0, len(vectors), BLOCK):
        check()
        labels[begin : begin + BLOCK] = index.search(vectors[begin : begin + BLOCK], 1)[1][:, 0]
    return labels
