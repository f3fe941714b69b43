"""Turns of lines: how many are in work over all batches, taken in turn by the batches, and none while a client waits."""

import asyncio
from collections.abc import Awaitable, Callable

Calm = Callable[[], Awaitable[None]]
"""Returns when no request of a client waits for its turn."""


class Turns:
    """Places for `concurrency` lines. Who asks first gets the next, and a batch asks for one at a time: so they alternate."""

    def __init__(self, concurrency: int, calm: Calm) -> None:
        self._free = asyncio.Semaphore(concurrency)
        self._calm = calm

    async def enter(self) -> None:
        """Wait for a place."""
        await self._free.acquire()
        try:
            await self._calm()
        except BaseException:
            self._free.release()
            raise

    def leave(self) -> None:
        """Give the place back."""
        self._free.release()
