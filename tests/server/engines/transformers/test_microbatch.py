"""Micro-batches: what waits shares a batch, sizes stay together, errors and ends touch their own items alone."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.engines.transformers.microbatch import MicroBatcher


class Doubling:
    """Doubles numbers; waits for `go` before each batch."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.go, self.begun = threading.Event(), threading.Event()
        if not held:
            self.go.set()

    def __call__(self, values: Sequence[int]) -> list[int]:
        self.batches.append(list(values))
        self.begun.set()
        self.go.wait(30)
        if 13 in values:
            raise ValueError("thirteen")
        return [2 * value for value in values]


Batcher = MicroBatcher[int, int]


CLOSED = RuntimeError("closed")


def batcher(compute: Doubling, *, most: int = 8, room: int = 10**6) -> Batcher:
    return Batcher(compute, abs, most, room)


@given(st.lists(st.lists(st.integers(1, 12), max_size=6), max_size=6), st.integers(1, 5), st.integers(1, 40))
async def test_everybody_gets_their_own_results(asked: list[list[int]], most: int, room: int) -> None:
    compute = Doubling()
    batches = batcher(compute, most=most, room=room)
    found = await asyncio.gather(*(batches.results(values, str(n)) for n, values in enumerate(asked)))
    assert found == [[2 * value for value in values] for values in asked]
    assert all(len(batch) <= most and (len(batch) == 1 or max(batch) * len(batch) <= room) for batch in compute.batches)
    assert sum(map(len, compute.batches)) == batches.computed == sum(map(len, asked))
    await batches.close(CLOSED)


async def begun(compute: Doubling, batches: Batcher) -> "asyncio.Task[list[int]]":
    """A first item that is being computed and holds up the rest."""
    task = asyncio.create_task(batches.results([1], "first"))
    await asyncio.to_thread(compute.begun.wait, 30)
    return task


@pytest.fixture
async def held() -> AsyncIterator[tuple[Doubling, Batcher]]:
    compute = Doubling(held=True)
    batches = batcher(compute)
    yield compute, batches
    compute.go.set()
    await batches.close(CLOSED)


async def test_what_comes_during_a_batch_is_the_next_one(held: tuple[Doubling, Batcher]) -> None:
    compute, batches = held
    first = await begun(compute, batches)
    others = [asyncio.create_task(batches.results([value], "r")) for value in (2, 3, 4)]
    await asyncio.sleep(0)
    assert (batches.running, batches.waiting) == (1, 3)
    compute.go.set()
    assert await asyncio.gather(first, *others) == [[2], [4], [6], [8]]
    assert compute.batches == [[1], [2, 3, 4]]


async def test_items_of_like_size_share_a_batch(held: tuple[Doubling, Batcher]) -> None:
    """Of 10, 100, 11, 99 the oldest takes its like along: with room for 22 the large ones come by themselves."""
    compute, batches = held
    batches.room = 22
    first = await begun(compute, batches)
    others = asyncio.create_task(batches.results([10, 100, 11, 99], "r"))
    await asyncio.sleep(0)
    compute.go.set()
    await asyncio.gather(first, others)
    assert compute.batches == [[1], [10, 11], [100], [99]]


async def test_an_error_ends_its_batch_alone() -> None:
    compute = Doubling()
    batches = batcher(compute, most=1)
    outcomes = await asyncio.gather(*(batches.results([value], "r") for value in (12, 13, 14)), return_exceptions=True)
    assert [outcomes[0], outcomes[2]] == [[24], [28]]
    assert isinstance(outcomes[1], ValueError)
    await batches.close(CLOSED)


async def test_cancelling_takes_waiting_items_out(held: tuple[Doubling, Batcher]) -> None:
    compute, batches = held
    first = await begun(compute, batches)
    other = asyncio.create_task(batches.results([2], "r"))
    await asyncio.sleep(0)
    other.cancel()
    compute.go.set()
    await asyncio.gather(first, other, return_exceptions=True)
    assert other.cancelled()
    assert await batches.results([5], "s") == [10]
    assert compute.batches == [[1], [5]]


async def test_failing_a_name_leaves_the_others(held: tuple[Doubling, Batcher]) -> None:
    compute, batches = held
    first = await begun(compute, batches)
    doomed, spared = (asyncio.create_task(batches.results([value], name)) for value, name in ((2, "a"), (3, "b")))
    await asyncio.sleep(0)
    batches.fail(RuntimeError("aborted"), "a")
    compute.go.set()
    assert await asyncio.gather(first, spared) == [[2], [6]]
    with pytest.raises(RuntimeError, match="aborted"):
        await doomed


async def test_closing_ends_what_waits_and_lets_the_batch_end(held: tuple[Doubling, Batcher]) -> None:
    compute, batches = held
    first = await begun(compute, batches)
    other = asyncio.create_task(batches.results([2], "r"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(batches.close(CLOSED))
    with pytest.raises(RuntimeError, match="closed"):
        await other
    compute.go.set()
    await closing
    assert await first == [2]
    assert compute.batches == [[1]]
