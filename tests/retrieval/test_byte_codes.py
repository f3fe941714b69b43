"""Codes of a byte a number keep the order of what is near, whatever the dimensions hold."""

import numpy as np
import pytest

from trimtab.retrieval.byte_codes import ByteCodes


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_the_nearest_are_among_few_candidates(decay: float) -> None:
    """Where a few dimensions hold most of the variance (decay 1) as well as where all hold the same: the 10 nearest of 5,000
    are among the 30 best by code, and the rotation leaves inner products as they are.
    """
    chance = np.random.default_rng(5)
    vectors = (chance.standard_normal((5020, 384)) * (1.0 + np.arange(384)) ** -decay).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = ByteCodes(384)
    np.testing.assert_allclose(codes.turned(vectors[:9]) @ codes.turned(vectors[:9]).T, vectors[:9] @ vectors[:9].T, atol=1e-5)
    stored = codes.stored(vectors[20:])
    assert stored.dtype == np.float32
    assert np.abs(stored).max() <= 127
    for query in vectors[:20]:
        code = codes.query(query)
        assert np.abs(code).max() == 127
        true = np.argsort(-(vectors[20:] @ query))[:10]
        assert set(true.tolist()) <= set(np.argsort(-(stored @ code))[:30].tolist())


def test_codes_are_whole_numbers_and_the_same_each_time() -> None:
    vectors = np.eye(8, dtype=np.float32)
    first, second = ByteCodes(8).stored(vectors), ByteCodes(8).stored(vectors)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, np.rint(first))
