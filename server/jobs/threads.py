"""Threads for the blocking work of jobs, of their own so that embeddings never hold up the renewal of a lease."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Threads:
    """A pool of them."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="jobs")

    async def run(self, work: Callable[Given, Result], *args: Given.args, **named: Given.kwargs) -> Result:
        """The result of blocking work, which is done to its end also where the caller is cancelled."""
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(self._pool, partial(work, *args, **named))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait({working})
            if not working.cancelled():
                working.exception()
            raise

    def close(self) -> None:
        """End the threads once their work is done."""
        self._pool.shutdown(wait=False)
