"""Keeps one engine alive: starts it, watches it, replaces it when it dies. Knows nothing of vLLM.

Whoever needs the engine asks `live()` each time; in the gap between death and restart that raises EngineUnavailable.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from trimtab.server.engines.base import Health
from trimtab.strategies.core.errors import EngineUnavailable

logger = logging.getLogger(__name__)

LONGEST_BACKOFF_S = 60.0
SETTLED_S = 300.0
"""An engine that lived this long is not part of a crash loop: its successor starts after the first backoff again."""


class Live(Protocol):
    """A running engine."""

    async def wait_dead(self) -> str:
        """Return, with the reason, once the engine has died."""
        ...

    async def stop(self) -> None:
        """Free everything the engine holds; safe on a dead one."""
        ...


L = TypeVar("L", bound=Live)


class Supervisor(Generic[L]):
    """One engine and its successors."""

    def __init__(self, name: str, launch: Callable[[], Awaitable[L]], *, backoff_s: float, restart_s: float = 20.0) -> None:
        """launch: start an engine; cleans up after itself when it fails or is cancelled.

        backoff_s: wait before a first restart, doubled for each further one up to a minute. restart_s: how long a restart is
        expected to take; what clients are told to wait.
        """
        self._name = name
        self._launch = launch
        self._backoff_s = backoff_s
        self._restart_s = restart_s
        self._engine: L | None = None
        self._health = Health("starting", "not started", restart_s)
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        self.restarts = 0
        """How often a dead engine was replaced."""

    async def start(self) -> L:
        """The first engine. Raises what `launch` raises; then the state is `failed`."""
        self._health = Health("starting", "loading the model", self._restart_s)
        try:
            self._engine = await self._launch()
        except BaseException as error:
            self._health = Health("failed", str(error) or type(error).__name__)
            raise
        self._health = Health("ready")
        self._watch = asyncio.create_task(self._keep_alive(self._engine), name=f"vllm-supervisor-{self._name}")
        return self._engine

    def live(self) -> L:
        """The running engine. Raises EngineUnavailable while there is none."""
        if self._engine is None:
            raise EngineUnavailable(
                f"the engine of {self._name!r} is {self._health.state}: {self._health.reason}",
                retry_after_s=self._health.retry_after_s,
            )
        return self._engine

    def health(self) -> Health:
        """The state now."""
        return self._health

    def suspect(self, engine: L, reason: str) -> None:
        """A request met a dead engine: stop handing it out at once; its watch does the rest."""
        if self._engine is engine:
            self._died(reason)

    async def close(self) -> None:
        """Stop the engine, or the attempt to start one. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        engine, self._engine = self._engine, None
        if self._health.state != "failed":
            self._health = Health("closed", "the server is shutting down")
        if engine is not None:
            await engine.stop()

    def _died(self, reason: str) -> None:
        """Nobody gets this engine any more."""
        self._engine = None
        self._health = Health("restarting", reason, self._restart_s)

    async def _keep_alive(self, engine: L) -> None:
        """Replace the engine whenever it dies, until cancelled."""
        backoff_s = self._backoff_s
        while True:
            born = time.monotonic()
            reason = await engine.wait_dead()
            self._died(reason)
            logger.error("engine %s died (%s); it is started again", self._name, reason)
            await self._clear(engine)
            if time.monotonic() - born > SETTLED_S:
                backoff_s = self._backoff_s
            engine, backoff_s = await self._relaunch(backoff_s)
            self.restarts += 1
            self._engine, self._health = engine, Health("ready")
            logger.warning("engine %s serves again", self._name)

    async def _clear(self, engine: L) -> None:
        """Free what a dead engine holds."""
        try:
            await engine.stop()
        except Exception:  # the border of this job: a dead engine that cannot be cleared must not stop the restart
            logger.exception("engine %s: its remains could not be cleared", self._name)

    async def _relaunch(self, backoff_s: float) -> tuple[L, float]:
        """A new engine, after as many attempts as it takes, and the backoff the next one starts from."""
        while True:
            self._health = Health("restarting", self._health.reason, backoff_s + self._restart_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            try:
                return await self._launch(), backoff_s
            except Exception as error:  # noqa: BLE001  # the border of this job: whatever a start fails with, it is tried again
                self._health = Health("restarting", f"start failed: {error}", backoff_s + self._restart_s)
                logger.error("engine %s did not start (%s); next attempt in %.0f s", self._name, error, backoff_s)
