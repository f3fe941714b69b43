"""Limits on traffic: how many requests are in work or waiting, and what one key may ask. They know no HTTP and no engine.

Order of a request: its key's rate and concurrency (429), then the server's turn (503), then the engine.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from trimtab.server.errors import Overloaded, RateLimited
from trimtab.server.settings import Limits
from trimtab.strategies.core.errors import EngineUnavailable

Clock = Callable[[], float]


class OverRate(RateLimited):
    """A key's limit is reached; carries the `x-ratelimit-*` headers."""

    def __init__(self, message: str, *, retry_after_s: float, headers: Mapping[str, str]) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.headers = dict(headers)


@dataclass(slots=True)
class _KeyState:
    """What one key has in work, and the tokens left in its bucket."""

    running: int = 0
    tokens: float = 0.0
    filled_at: float = 0.0


class KeyLimits:
    """Requests in work and requests a minute, by key. A bucket of one minute's requests refills evenly."""

    def __init__(self, limits: Limits, *, clock: Clock = time.monotonic) -> None:
        self._concurrency = limits.concurrency_per_key
        self._per_minute = limits.requests_per_minute
        self._clock = clock
        self._keys: dict[str, _KeyState] = {}

    def enter(self, key: str, *, counted: bool) -> dict[str, str]:
        """Count a request of a key in; `counted` applies the concurrency limit. Raises OverRate."""
        state = self._keys.get(key)
        if state is None:
            state = self._keys[key] = _KeyState(tokens=float(self._per_minute or 0), filled_at=self._clock())
        if counted and state.running >= self._concurrency:
            message = f"key {key!r} has {state.running} requests in work; limits.concurrency_per_key allows {self._concurrency}"
            raise OverRate(message, retry_after_s=1.0, headers=self._headers(state))
        self._take(key, state)
        state.running += 1
        return self._headers(state)

    def leave(self, key: str) -> None:
        """Count a request out."""
        self._keys[key].running -= 1

    def _take(self, key: str, state: _KeyState) -> None:
        if self._per_minute is None:
            return
        now = self._clock()
        state.tokens = min(float(self._per_minute), state.tokens + (now - state.filled_at) * self._per_minute / 60)
        state.filled_at = now
        if state.tokens < 1:
            wait = (1 - state.tokens) * 60 / self._per_minute
            message = f"key {key!r} has used its {self._per_minute} requests a minute (limits.requests_per_minute)"
            raise OverRate(message, retry_after_s=wait, headers=self._headers(state))
        state.tokens -= 1

    def _headers(self, state: _KeyState) -> dict[str, str]:
        if self._per_minute is None:
            return {}
        missing = self._per_minute - state.tokens
        return {
            "x-ratelimit-limit-requests": str(self._per_minute),
            "x-ratelimit-remaining-requests": str(int(state.tokens)),
            "x-ratelimit-reset-requests": f"{missing * 60 / self._per_minute:.3f}s",
        }


class Admission:
    """The turns of all generating requests: `limits.concurrency` in work, `limits.queue` waiting, first come first served."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._calm = asyncio.Event()
        self._calm.set()
        self._interrupts: set[Callable[[Exception], None]] = set()
        self.running = 0
        self.state: Literal["starting", "open", "draining"] = "starting"

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def open(self) -> None:
        """Let requests in."""
        self.state = "open"

    def drain(self) -> None:
        """Refuse new requests and those that wait; running ones go on."""
        self.state = "draining"
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(self._closed())

    @contextmanager
    def interruptible(self, interrupt: Callable[[Exception], None]) -> Iterator[None]:
        """Inside the block, `interrupt_all` calls `interrupt` with its error."""
        self._interrupts.add(interrupt)
        try:
            yield
        finally:
            self._interrupts.discard(interrupt)

    def interrupt_all(self) -> None:
        """End every request in work with the error of a server that shuts down."""
        for interrupt in tuple(self._interrupts):
            interrupt(self._closed())

    async def idle(self) -> None:
        """Returns when nothing is in work."""
        await self._idle.wait()

    async def calm(self) -> None:
        """Returns when nothing waits: what is not urgent begins then."""
        await self._calm.wait()

    async def enter(self) -> None:
        """Wait for a turn. Raises Overloaded (queue full, too long in it, draining) and EngineUnavailable (still starting)."""
        if self.state != "open":
            raise self._closed()
        if self.running >= self._limits.concurrency or self._waiting:
            await self._queue()
        else:
            self._take()

    def leave(self) -> None:
        """Give the turn back; the longest waiting request gets it."""
        self.running -= 1
        while self._waiting and self.running < self._limits.concurrency:
            turn = self._waiting.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)
        self._tell_calm()
        if self.running == 0:
            self._idle.set()

    def _tell_calm(self) -> None:
        if not self._waiting:
            self._calm.set()

    def _take(self) -> None:
        self.running += 1
        self._idle.clear()

    async def _queue(self) -> None:
        if len(self._waiting) >= self._limits.queue:
            message = f"{self.running} requests are in work and {len(self._waiting)} wait; the queue is full (limits.queue)"
            raise Overloaded(message, retry_after_s=2.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._calm.clear()
        try:
            await asyncio.wait({turn}, timeout=self._limits.queue_timeout_s)
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
            self._tell_calm()
        if not turn.done():
            turn.cancel()
            waited = f"waited {self._limits.queue_timeout_s:g} s for a turn (limits.queue_timeout_s)"
            raise Overloaded(f"the request {waited}", retry_after_s=5.0)
        turn.result()

    def _closed(self) -> Exception:
        if self.state == "starting":
            return EngineUnavailable("the engines are still starting", retry_after_s=5.0)
        return Overloaded("the server is shutting down", retry_after_s=5.0)


@dataclass(slots=True)
class Gate:
    """Both limits together: `async with gate.turn(key):` around every generating request."""

    keys: KeyLimits
    admission: Admission
    keyed: bool = True
    """Whether the server has keys; without any, all callers together are no single key and only admission bounds them."""

    @classmethod
    def of(cls, limits: Limits, *, keyed: bool) -> "Gate":
        """The gate of a server's limits."""
        return cls(KeyLimits(limits), Admission(limits), keyed)

    def turn(self, key: str) -> "Turn":
        """A context manager whose value is the rate-limit headers."""
        return Turn(self, key)


@dataclass(slots=True)
class Turn(AbstractAsyncContextManager[dict[str, str]]):
    """One request's way through the gate; safe to cancel at any point."""

    gate: Gate
    key: str
    _headers: dict[str, str] = field(default_factory=dict)

    async def __aenter__(self) -> dict[str, str]:
        """The headers, once the request may run."""
        self._headers = self.gate.keys.enter(self.key, counted=self.gate.keyed)
        try:
            await self.gate.admission.enter()
        except BaseException:
            self.gate.keys.leave(self.key)
            raise
        return self._headers

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The turn goes to the next."""
        self.gate.admission.leave()
        self.gate.keys.leave(self.key)
