"""What calibration promises of a recall holds for queries that it has not seen."""

import numpy as np
import pytest

from trimtab.retrieval.calibration import Truth, calibrated, truths
from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.ivf import SHARES, Calibration, IvfIndex

CHANCE = np.random.default_rng(11)
DIMENSION = 16


def unit(count: int) -> Vectors:
    drawn = CHANCE.standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


VECTORS = unit(8000)
NUMBERS = np.arange(8000)


@pytest.fixture(scope="module")
def index() -> IvfIndex:
    index = IvfIndex(VECTORS[:90], 1.0, Calibration((1,), 8000))
    index.add(NUMBERS, VECTORS)
    return index


def nothing() -> None:
    return None


def test_the_truth_is_exact(index: IvfIndex) -> None:
    """Seen in three parts: all lists give a recall of 1, and few lists what counting by hand gives."""
    truth = Truth(NUMBERS[:50], VECTORS[:50], 4)
    for part in np.split(NUMBERS, [1, 3000]):
        truth.see(part, VECTORS[part])
    assert truth.recall(index, 90, nothing) == 1
    among = NUMBERS[::4]
    hits = 0
    for number in range(50):
        others = among[among != number]
        true = set(others[np.argsort(-(VECTORS[others] @ VECTORS[number]))[:10]].tolist())
        found = index.probe(VECTORS[number], 11, 8, among)[1]
        hits += len(true & set(found[found != number][:10].tolist()))
    assert truth.recall(index, 8, nothing) == pytest.approx(hits / 500)


def test_new_queries_find_what_was_promised(index: IvfIndex) -> None:
    """Vectors without any structure, the hardest case: most lists must be read, and the more the smaller the share."""
    order = CHANCE.permutation(NUMBERS)[:300]
    exact = truths(order, VECTORS[order])
    for truth in exact:
        truth.see(NUMBERS, VECTORS)
    calibration = calibrated(exact, index, 0.9, nothing)
    assert list(calibration.probes) == sorted(calibration.probes)
    assert calibration.probes[0] < 90
    queries = unit(200)
    for share, probes in zip(SHARES, calibration.probes, strict=True):
        among = NUMBERS[1::share]
        found = [set(index.probe(query, 10, probes, among)[1].tolist()) for query in queries]
        true = [set(among[np.argsort(-(VECTORS[among] @ query))[:10]].tolist()) for query in queries]
        recall = np.mean([len(a & b) / 10 for a, b in zip(found, true, strict=True)])
        assert recall > 0.85
        if share == 1:
            assert recall < 0.97


def test_tight_clusters_need_few_lists() -> None:
    """90 clusters, a list for each: the neighbours of a vector lie in its own."""
    centres = unit(90)
    vectors = np.repeat(centres, 50, axis=0) + 0.02 * CHANCE.standard_normal((4500, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = IvfIndex(centres, 1.0, Calibration((1,), 4500))
    index.add(np.arange(4500), vectors)
    order = CHANCE.permutation(4500)[:300]
    exact = truths(order, vectors[order])
    for truth in exact:
        truth.see(np.arange(4500), vectors)
    assert calibrated(exact, index, 0.965, nothing).probes[:2] == (1, 1)
