"""Results on their way to the store: one transaction for all that have gathered since the last."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from pydantic_core import to_json

from trimtab.server.jobs.records import LineResult
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.wire import usage_of

MOST = 256
"""Results that may wait; beyond it no new line begins."""

logger = logging.getLogger(__name__)

Keep = Callable[[Sequence[LineResult]], Awaitable[None]]
"""Stores results; returns when they are on disk."""


def result_of(answer: LineAnswer) -> LineResult:
    """The row of an answer, and what it cost."""
    row = to_json(answer.row(), inf_nan_mode="null").decode()
    usage = usage_of((answer.body or {}).get("usage"))
    return LineResult(answer.number, answer.ok, row, usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)


class Results:
    """Takes results and has them stored as soon as the transaction before is through."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._queue: asyncio.Queue[LineResult] = asyncio.Queue()
        self._held = 0
        self._fewer = asyncio.Condition()

    def add(self, result: LineResult) -> None:
        """Take one."""
        self._held += 1
        self._queue.put_nowait(result)

    async def run(self) -> None:
        """Store what comes, until cancelled."""
        while True:
            group = [await self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get_nowait())
            await self._keep(group)
            async with self._fewer:
                self._held -= len(group)
                self._fewer.notify_all()

    async def room(self) -> None:
        """Returns when few enough wait."""
        await self._at_most(MOST)

    async def kept(self) -> None:
        """Returns when all are stored."""
        await self._at_most(0)

    async def _at_most(self, most: int) -> None:
        async with self._fewer:
            await self._fewer.wait_for(lambda: self._held <= most)
