"""Micro-batches: what is asked for while a batch is computed becomes the next one. One thread computes."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False, slots=True)
class _Item(Generic[T, R]):
    value: T
    name: str
    result: "asyncio.Future[R]"


@dataclass(slots=True)
class MicroBatcher(Generic[T, R]):
    """Computes results of items in batches; items of several callers share one.

    compute: results of a batch in its order, in a thread of its own. size: of an item. most, room: items and padded size (items
    times the largest of them) of a batch; an item larger than `room` is a batch by itself. prepare: runs first in the thread.
    """

    compute: Callable[[Sequence[T]], Sequence[R]]
    size: Callable[[T], int]
    most: int
    room: int
    prepare: Callable[[], object] | None = None
    computed: int = 0
    """Items so far."""
    running: int = 0
    """Items being computed."""
    _waiting: deque[_Item[T, R]] = field(default_factory=deque)
    _thread: ThreadPoolExecutor = field(init=False)
    _task: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "scores", self.prepare)

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    async def results(self, values: Iterable[T], name: str) -> list[R]:
        """The results of some items in order. Cancelling takes the waiting ones out; raises what `compute` raises."""
        loop = asyncio.get_running_loop()
        items = [_Item[T, R](value, name, loop.create_future()) for value in values]
        self._waiting.extend(items)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work(), name="scores")
        try:
            return list(await asyncio.gather(*(item.result for item in items)))
        finally:
            for item in items:
                item.result.cancel()

    def fail(self, error: Exception, name: str | None = None) -> None:
        """End the waiting items of a name, or all of them, with an error."""
        for item in list(self._waiting):
            if name in (None, item.name) and not item.result.done():
                item.result.set_exception(error)

    async def close(self, error: Exception) -> None:
        """End the waiting items with an error, let the batch that is being computed end, free the thread."""
        self.fail(error)
        if self._task is not None:
            await self._task
        await asyncio.to_thread(self._thread.shutdown)

    async def _work(self) -> None:
        while batch := self._next():
            self.running = len(batch)
            loop = asyncio.get_running_loop()
            try:
                found = await loop.run_in_executor(self._thread, self.compute, [item.value for item in batch])
            except Exception as error:  # noqa: BLE001  whatever the library raises belongs to this batch alone
                for item in batch:
                    if not item.result.done():
                        item.result.set_exception(error)
                continue
            finally:
                self.running = 0
            self.computed += len(batch)
            for item, result in zip(batch, found, strict=True):
                if not item.result.done():
                    item.result.set_result(result)

    def _next(self) -> list[_Item[T, R]]:
        """The oldest item and those of the others nearest to it in size that fit with it, the older first where equal."""
        self._waiting = deque(item for item in self._waiting if not item.result.done())
        if not self._waiting:
            return []
        first = self._waiting[0]
        target = self.size(first.value)
        near = sorted(self._waiting, key=lambda item: abs(self.size(item.value) - target))
        batch: list[_Item[T, R]] = []
        largest = 0
        for item in near[: self.most]:
            largest = max(largest, self.size(item.value))
            if batch and largest * (len(batch) + 1) > self.room:
                break
            batch.append(item)
        taken = set(map(id, batch))
        self._waiting = deque(item for item in self._waiting if id(item) not in taken)
        return batch
