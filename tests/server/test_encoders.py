"""Encoders by name, and as strategies see them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.server.corpus_doubles import CountingWords, words
from trimtab.server.encoders import OffLoopEncoder
from trimtab.server.shared_encoder import SharedEncoder


def test_encoders_are_made_once_and_the_first_is_the_default() -> None:
    source = words(CountingWords("a"), CountingWords("b"))
    assert (source.default, source.served) == ("a", ("a", "b"))
    assert source.get("b") is source.get("b")
    with pytest.raises(OSError, match="no encoder 'c'"):
        source.get("c")


async def test_strategies_see_it_off_the_loop() -> None:
    with ThreadPoolExecutor(1) as threads:
        encoder = OffLoopEncoder(SharedEncoder(CountingWords()), threads)
        np.testing.assert_allclose(await encoder.encode(["a b"]), CountingWords().encode(["a b"]))
        assert await encoder.lengths(["a b"]) == (2,)
