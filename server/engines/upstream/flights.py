"""Requests on their way, by the id they run under, so that all of one id can be ended from outside."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from trimtab.strategies.core.errors import EngineFailure


class Flight:
    """One request on its way. Its steps are awaited one after the other in `step()`."""

    def __init__(self) -> None:
        self._aborted = False
        self._scope: asyncio.Timeout | None = None

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        """A piece of work that `abort` interrupts. Raises EngineFailure where it did."""
        if self._aborted:
            raise EngineFailure("the request was aborted")
        try:
            async with asyncio.timeout(None) as self._scope:
                yield
        except TimeoutError:
            if self._aborted:
                raise EngineFailure("the request was aborted") from None
            raise
        finally:
            self._scope = None

    def abort(self) -> None:
        """End the running step, and refuse every later one."""
        if self._scope is not None and not self._aborted:
            self._scope.reschedule(asyncio.get_running_loop().time())
        self._aborted = True


class Flights:
    """All requests on their way."""

    def __init__(self) -> None:
        self._running: defaultdict[str, set[Flight]] = defaultdict(set)

    def __len__(self) -> int:
        return sum(len(flights) for flights in self._running.values())

    @contextmanager
    def begin(self, request_id: str) -> Iterator[Flight]:
        """A request under an id, until the block ends."""
        flight = Flight()
        self._running[request_id].add(flight)
        try:
            yield flight
        finally:
            self._running[request_id].discard(flight)
            if not self._running[request_id]:
                del self._running[request_id]

    def abort(self, request_id: str) -> None:
        """End every request under an id; unknown ids are fine."""
        for flight in tuple(self._running.get(request_id, ())):
            flight.abort()
