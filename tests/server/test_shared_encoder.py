"""Encoders that are shared: who waits together is embedded together, and each gets its own."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.server.corpus_doubles import CountingWords, GatedWords
from tests.waiting import until
from trimtab.retrieval.encoding import Vectors
from trimtab.server.encoders import OffLoopEncoder
from trimtab.server.shared_encoder import FEW, TOGETHER, SharedEncoder


async def _together(gate: GatedWords, first: list[str], others: Sequence[list[str]]) -> list[Vectors | BaseException]:
    """What each call gets; the others come while the encoder is busy with the first."""
    shared = SharedEncoder(gate)
    with ThreadPoolExecutor(16) as threads:
        encoder = OffLoopEncoder(shared, threads)
        calls = [asyncio.create_task(encoder.encode(first))]
        await until(gate.entered.is_set)
        calls += [asyncio.create_task(encoder.encode(own)) for own in others]
        await until(lambda: shared.waiting == len([own for own in others if len(own) <= FEW]))
        gate.go.set()
        found = await asyncio.gather(*calls, return_exceptions=True)
    return list(found)


async def test_calls_that_wait_together_are_one_batch_and_each_gets_its_own_rows() -> None:
    """The first text goes alone; then 4 pairs and 4 single texts are 12."""
    gate = GatedWords()
    texts = [[f"text {number}", f"more of {number}"][: 1 + number % 2] for number in range(9)]
    found = await _together(gate, texts[0], texts[1:])
    assert gate.calls == [1, 12]
    for own, vectors in zip(texts, found, strict=True):
        assert not isinstance(vectors, BaseException)
        np.testing.assert_allclose(vectors, CountingWords().encode(own), atol=1e-6)


async def test_a_batch_is_bounded_and_a_large_call_makes_its_own() -> None:
    """Five calls of 16 wait: four of them are the 64 of one batch, the fifth is the next."""
    gate = GatedWords()
    found = await _together(gate, ["first"], [["w"] * FEW] * 5 + [["w"] * (FEW + 1)])
    shapes = [vectors.shape for vectors in found if not isinstance(vectors, BaseException)]
    assert shapes == [(1, 32), *[(FEW, 32)] * 5, (FEW + 1, 32)]
    assert sorted(gate.calls) == sorted([1, FEW + 1, TOGETHER, FEW])


async def test_an_error_reaches_every_caller_of_the_batch_and_nobody_else() -> None:
    class Refusing(GatedWords):
        def encode(self, texts: Sequence[str]) -> Vectors:
            vectors = super().encode(texts)
            if "bad" in texts:
                raise ValueError("cannot be embedded")
            return vectors

    good, *met = await _together(Refusing(), ["good"], [["bad"], ["innocent"]])
    assert not isinstance(good, BaseException)
    assert [str(error) for error in met] == ["cannot be embedded"] * 2


async def test_a_query_waits_for_no_more_than_a_portion_of_an_import() -> None:
    """17 texts of 6,000 characters are 17 portions; a query that comes during the first is embedded before the second."""
    gate = GatedWords()
    shared = SharedEncoder(gate)
    with ThreadPoolExecutor(2) as threads:
        encoder = OffLoopEncoder(shared, threads)
        importing = asyncio.create_task(encoder.encode([f"{number} ".ljust(6000, "x") for number in range(17)]))
        await until(gate.entered.is_set)
        asking = asyncio.create_task(encoder.encode(["a query"]))
        await until(lambda: shared.waiting == 1)
        gate.go.set()
        assert (await asking).shape == (1, 32)
        assert (await importing).shape == (17, 32)
    assert gate.calls == [1] * 18
    assert gate.texts[1] == "a query"


@given(st.lists(st.text("ab ", max_size=5).map(lambda text: text * 900), max_size=40))
def test_portions_are_put_together_in_order(texts: list[str]) -> None:
    np.testing.assert_allclose(SharedEncoder(CountingWords()).encode(texts), CountingWords().encode(texts))


def test_lengths_leave_special_tokens_out() -> None:
    assert SharedEncoder(CountingWords()).lengths(["", "two words", "and, three!"]) == (0, 2, 4)


def test_no_text_is_no_batch() -> None:
    assert SharedEncoder(CountingWords()).encode([]).shape == (0, 32)
