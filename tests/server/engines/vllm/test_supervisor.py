"""Death, restart and close, with an engine that dies on command."""

import asyncio
from collections.abc import Callable

import pytest

from trimtab.server.engines.vllm.supervisor import Supervisor
from trimtab.strategies.core.errors import EngineUnavailable


class Mortal:
    """An engine that lives until it is told otherwise."""

    def __init__(self, stopped: Callable[[], None]) -> None:
        self.died = asyncio.Event()
        self.stopped = False
        self._on_stop = stopped

    async def wait_dead(self) -> str:
        await self.died.wait()
        return "killed"

    async def stop(self) -> None:
        self.stopped = True
        self._on_stop()


class Factory:
    """Launches mortals; fails the next `failures` times."""

    def __init__(self) -> None:
        self.made: list[Mortal] = []
        self.failures = 0
        self.attempts = 0
        self.hold: asyncio.Event | None = None
        self.cancelled = False
        self.launched = asyncio.Event()

    async def __call__(self) -> Mortal:
        self.attempts += 1
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        if self.failures:
            self.failures -= 1
            raise RuntimeError("no memory")
        self.made.append(Mortal(lambda: None))
        self.launched.set()
        return self.made[-1]


async def started(factory: Factory) -> Supervisor[Mortal]:
    supervisor = Supervisor("m", factory, backoff_s=0.001)
    await supervisor.start()
    factory.launched.clear()
    return supervisor


async def test_a_dead_engine_is_replaced() -> None:
    factory = Factory()
    supervisor = await started(factory)
    first = supervisor.live()
    first.died.set()
    await factory.launched.wait()
    await asyncio.sleep(0)
    assert first.stopped
    assert supervisor.live() is factory.made[1]
    assert (supervisor.restarts, supervisor.health().state) == (1, "ready")
    await supervisor.close()


async def test_nobody_gets_a_suspected_engine() -> None:
    factory = Factory()
    supervisor = await started(factory)
    engine = supervisor.live()
    supervisor.suspect(engine, "did not answer")
    with pytest.raises(EngineUnavailable, match="restarting"):
        supervisor.live()
    supervisor.suspect(engine, "said again, later")
    engine.died.set()
    await factory.launched.wait()
    await asyncio.sleep(0)
    supervisor.suspect(engine, "late news of the old one")
    assert supervisor.live() is factory.made[1]
    await supervisor.close()


async def test_failed_starts_are_repeated_with_growing_waits() -> None:
    factory = Factory()
    supervisor = await started(factory)
    factory.failures = 3
    supervisor.live().died.set()
    await factory.launched.wait()
    assert factory.attempts == 1 + 3 + 1
    await supervisor.close()


async def test_a_first_start_that_fails_is_raised() -> None:
    factory = Factory()
    factory.failures = 1
    supervisor = Supervisor("m", factory, backoff_s=0.001)
    with pytest.raises(RuntimeError, match="no memory"):
        await supervisor.start()
    assert supervisor.health().state == "failed"
    with pytest.raises(EngineUnavailable, match="no memory"):
        supervisor.live()
    await supervisor.close()


async def test_close_stops_the_engine_once() -> None:
    factory = Factory()
    supervisor = await started(factory)
    engine = supervisor.live()
    await supervisor.close()
    await supervisor.close()
    assert engine.stopped
    assert supervisor.health().state == "closed"
    with pytest.raises(EngineUnavailable):
        supervisor.live()


async def test_close_ends_a_restart_under_way() -> None:
    factory = Factory()
    supervisor = await started(factory)
    factory.hold = asyncio.Event()
    supervisor.live().died.set()
    async with asyncio.timeout(5):
        while factory.attempts < 2:  # noqa: ASYNC110  # the attempt is made by the task under test
            await asyncio.sleep(0.001)
    await supervisor.close()
    assert factory.cancelled
    assert supervisor.health().state == "closed"
