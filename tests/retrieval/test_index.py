"""Both indices against brute force, over any run of additions and removals."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.index import FlatIndex
from trimtab.retrieval.ivf import Calibration, IvfIndex
from trimtab.retrieval.matrix import Numbers

DIMENSION = 6
CHANCE = np.random.default_rng(7)


def unit(count: int) -> Vectors:
    drawn = CHANCE.standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


POOL = unit(12)
"""Few vectors, so that equal ones are common."""
CENTROIDS = unit(4)


class EveryList(IvfIndex):
    """An inverted file that reads all its lists, however few vectors there are: exact, by the way of a large one."""

    def search(self, vector: Vectors, k: int, among: Numbers | None = None) -> tuple[np.ndarray, Numbers]:
        if among is not None and not len(among):
            return super().search(vector, k, among)
        return self.probe(vector, k, len(self.centroids), among)


INDICES: dict[str, Callable[[], FlatIndex | IvfIndex]] = {
    "flat": lambda: FlatIndex(DIMENSION),
    "ivf": lambda: IvfIndex(CENTROIDS, Calibration((1,), 20, 1000)),
    "ivf by lists": lambda: EveryList(CENTROIDS, Calibration((1,), 20, 1000)),
}

additions = st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=40)
removals = st.sets(st.integers(0, 200), max_size=60)
steps = st.lists(st.one_of(additions, removals), max_size=8)


def brute_force(held: dict[int, Vectors], vector: Vectors, k: int) -> list[tuple[int, float]]:
    """Best first, equal ones by number."""
    scored = [(number, float(np.sum(own.astype(np.float64) * vector.astype(np.float64)))) for number, own in held.items()]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


@pytest.mark.parametrize("kind", INDICES)
@given(steps=steps, query=st.integers(0, len(POOL) - 1), k=st.integers(1, 30), chosen=st.sets(st.integers(0, 200)))
def test_search_equals_brute_force(kind: str, steps: list[list[int] | set[int]], query: int, k: int, chosen: set[int]) -> None:
    index = INDICES[kind]()
    held: dict[int, Vectors] = {}
    following = 0
    for step in steps:
        if isinstance(step, set):
            index.remove(np.asarray(sorted(step), dtype=np.int64))
            held = {number: vector for number, vector in held.items() if number not in step}
        else:
            numbers = np.arange(following, following + len(step), dtype=np.int64)
            index.add(numbers, POOL[step])
            held |= dict(zip(numbers.tolist(), POOL[step], strict=True))
            following += len(step)
    assert len(index) == len(held)
    assert index.numbers().tolist() == sorted(held)
    some = np.asarray(sorted(held)[::2], dtype=np.int64)
    np.testing.assert_array_equal(
        index.vectors(some), np.asarray([held[number] for number in some.tolist()]).reshape(-1, DIMENSION)
    )
    among = {number: vector for number, vector in held.items() if number in chosen}
    for subset, given_numbers in ((held, None), (among, np.asarray(sorted(among), dtype=np.int64))):
        scores, numbers = index.search(POOL[query], k, given_numbers)
        expected = brute_force(subset, POOL[query], k)
        np.testing.assert_allclose(scores, [score for _, score in expected], atol=1e-6)
        if kind != "ivf by lists":  # of more than k + 6 equal ones it may leave any out
            assert list(zip(numbers.tolist(), scores.tolist(), strict=True)) == expected


def test_equal_vectors_tie_exactly_wherever_they_lie() -> None:
    """Ten copies among 997 others: their places differ in what a matrix product makes of them, their scores must not."""
    vectors = unit(1007)
    numbers = np.arange(1007)
    copies = np.asarray([0, 3, 64, 65, 300, 511, 512, 777, 1005, 1006])
    vectors[copies] = vectors[0]
    index = FlatIndex(DIMENSION)
    index.add(numbers, vectors)
    scores, found = index.search(vectors[0], 10)
    assert found.tolist() == copies.tolist()
    assert len(set(scores.tolist())) == 1


def test_a_search_reads_more_lists_the_fewer_vectors_are_searched() -> None:
    """Calibrated to read 4, 16, 36, 64 of 64 lists of 6,400 vectors for all, 1/4, 1/16, 1/64 of them.

    Of 1/2, halfway (in powers of 4) between all and 1/4: 4 * (16 / 4) ** 0.5 = 8. Of 80 neighbours, as of 10 among 1/8:
    16 * (36 / 16) ** 0.5 = 24. With half of the vectors removed, 8 again; with twice as many as calibrated, the neighbours
    are as much nearer: 4 / (16 / 4) ** 0.5 = 2. 100 vectors are read by number.
    """
    vectors = unit(16_000)
    read: list[int] = []

    class Counting(IvfIndex):
        def probe(self, vector: Vectors, k: int, probes: int, among: Numbers | None = None) -> tuple[np.ndarray, Numbers]:
            read.append(probes)
            return super().probe(vector, k, probes, among)

    index = Counting(unit(64), Calibration((4, 16, 36, 64), 20, 6400))
    index.add(np.arange(6400), vectors[:6400])
    index.search(vectors[0], 10)
    index.search(vectors[0], 10, np.arange(0, 6400, 4))
    index.search(vectors[0], 10, np.arange(0, 6400, 2))
    index.search(vectors[0], 80)
    index.remove(np.arange(3200, 6400))
    index.search(vectors[0], 10)
    index.add(np.arange(6400, 16_000), vectors[6400:])
    index.search(vectors[0], 10)
    assert read == [4, 16, 8, 24, 8, 2]
    index.search(vectors[0], 10, np.arange(0, 100))
    assert len(read) == 6
