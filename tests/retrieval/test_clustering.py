"""Centroids: as many as asked, unit, where the vectors are, and given up when they are not wanted."""

import numpy as np
import pytest

from trimtab.retrieval.clustering import centroids
from trimtab.retrieval.encoding import Vectors


def mixture(centres: int, each: int, seed: int = 0) -> tuple[Vectors, Vectors]:
    chance = np.random.default_rng(seed)
    middle = chance.standard_normal((centres, 24)).astype(np.float32)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    drawn = np.repeat(middle, each, axis=0) + 0.05 * chance.standard_normal((centres * each, 24)).astype(np.float32)
    return middle, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def nothing() -> None:
    return None


@pytest.mark.parametrize("count", [1, 5, 16, 60])
def test_they_are_unit_and_as_many_as_asked(count: int) -> None:
    _, vectors = mixture(20, 30)
    found = centroids(vectors, count, seed=1, check=nothing)
    assert found.shape == (count, 24)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_they_lie_where_the_vectors_do() -> None:
    """40 tight clusters and 80 centroids: nearly every vector has one within the cluster's own width (cosine over .9)."""
    _, vectors = mixture(40, 50)
    found = centroids(vectors, 80, seed=1, check=nothing)
    nearest = (vectors @ found.T).max(axis=1)
    assert np.mean(nearest > 0.9) > 0.97


def test_the_seed_decides() -> None:
    _, vectors = mixture(10, 30)
    first, same, other = (centroids(vectors, 20, seed=seed, check=nothing) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_equal_vectors_are_no_trouble() -> None:
    vectors = np.tile(np.eye(1, 24, dtype=np.float32), (200, 1))
    found = centroids(vectors, 20, seed=1, check=nothing)
    np.testing.assert_allclose(found, vectors[:20], atol=1e-6)


def test_the_work_ends_when_asked() -> None:
    class Enough(Exception):
        pass

    def check() -> None:
        raise Enough

    with pytest.raises(Enough):
        centroids(mixture(10, 30)[1], 20, seed=1, check=check)
