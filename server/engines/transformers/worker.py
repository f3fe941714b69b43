"""The engine's thread: it alone touches the model; everything else talks to it through an inbox of commands.

A thread that dies ends its requests and is started anew with a fresh scheduler; the weights stay loaded.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Literal

import torch

from trimtab.server.engines.base import Health
from trimtab.server.engines.transformers.row import Job, ScoreJob
from trimtab.server.engines.transformers.scheduler import Scheduler
from trimtab.strategies.core.errors import EngineUnavailable

logger = logging.getLogger(__name__)

Command = Callable[[Scheduler], None]
State = Literal["starting", "ready", "restarting", "failed", "closed"]

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 30.0
MOST_DEATHS = 5
"""Deaths in a row, without a step between them that worked, after which the engine stays down."""


class Outbox:
    """What a step produced, handed to each event loop in one call."""

    def __init__(self) -> None:
        self._items: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue[Any], Any]]] = {}

    def put(self, loop: asyncio.AbstractEventLoop, target: asyncio.Queue[Any], item: Any) -> None:
        """Keeps an item for the end of the step."""
        self._items.setdefault(loop, []).append((target, item))

    def flush(self) -> None:
        """Hands all items on; those of a loop that is closed are dropped."""
        if not self._items:
            return
        items, self._items = self._items, {}
        for loop, pairs in items.items():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_deliver, pairs)


def _deliver(pairs: list[tuple["asyncio.Queue[Any]", Any]]) -> None:
    for target, item in pairs:
        target.put_nowait(item)


class Mailbox:
    """A sink that ends in an asyncio queue of the loop it was made in."""

    __slots__ = ("_loop", "_outbox", "_queue")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, item: object) -> None:
        """From the engine's thread: sends an item or the error that ends the request."""
        self._outbox.put(self._loop, self._queue, item)

    async def get(self) -> Any:
        """The next item; raises it where it is an error."""
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item


class Worker:
    """A thread with a scheduler."""

    def __init__(self, scheduler: Callable[[], Scheduler], *, name: str, threads: int | None) -> None:
        self._make_scheduler = scheduler
        self._name = name
        self._threads = threads
        self._inbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._scheduler = scheduler()
        self._deaths = 0
        self._lock = threading.Lock()
        """Between a look at the state and the inbox, and a change of the state: no command is left in a dead inbox."""
        self._state: State = "starting"
        self._reason = ""
        self.outbox = Outbox()

    def start(self) -> None:
        """Starts the thread."""
        self._enter("ready", "")
        self._thread = threading.Thread(target=self._live, name=f"trimtab-{self._name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends all work and the thread; blocks until it has ended (at most one step). Safe to call twice."""
        self._closing.set()
        self._enter("closed", "")
        self._inbox.put(None)
        if self._thread is not None:
            self._thread.join()

    def post(self, command: Command) -> None:
        """Runs a command in the thread before the next step. Raises EngineUnavailable where no thread is alive."""
        with self._lock:
            if self._state != "ready":
                raise EngineUnavailable(f"The engine of {self._name} is {self._state}. {self._reason}".rstrip())
            self._inbox.put(command)

    def cancel(self, job: Job | ScoreJob) -> None:
        """Ends a job whose reader has gone; nothing to do where the thread has ended all jobs anyway."""
        with contextlib.suppress(EngineUnavailable):
            self.post(lambda scheduler: scheduler.cancel(job))

    def health(self) -> Health:
        """The state now."""
        return Health(self._state, self._reason, retry_after_s=1.0)

    def gauges(self) -> dict[str, float]:
        """Running and waiting rows, and the scheduler's counts."""
        scheduler = self._scheduler
        return {"running": scheduler.running, "waiting": scheduler.waiting, **scheduler.counters}

    def _live(self) -> None:
        """Works until closed, and starts over after a death."""
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        while not self._closing.is_set():
            try:
                with torch.inference_mode():
                    self._work()
            except BaseException as error:  # noqa: BLE001 - the thread's border: it is started over, with its requests ended
                self._died(error)
        self._end_all(EngineUnavailable(f"The engine of {self._name} is shutting down.", retry_after_s=1.0))

    def _work(self) -> None:
        """Takes commands and steps, until told to close."""
        scheduler = self._scheduler
        scheduler.probe()
        while True:
            if not self._take_commands(scheduler, wait=not scheduler.busy):
                return
            scheduler.step()
            self.outbox.flush()
            self._deaths = 0

    def _take_commands(self, scheduler: Scheduler, *, wait: bool) -> bool:
        """Runs what is in the inbox; False when it says to close."""
        try:
            command = self._inbox.get(block=wait)
            while command is not None:
                command(scheduler)
                command = self._inbox.get_nowait()
        except queue.Empty:
            return True
        return False

    def _died(self, error: BaseException) -> None:
        """Ends every request with a 503, waits a little and makes a fresh scheduler."""
        self._deaths += 1
        if self._closing.is_set():
            return
        self._enter("failed" if self._deaths >= MOST_DEATHS else "restarting", f"Its thread ended with {type(error).__name__}.")
        logger.critical("the engine's thread died (%d in a row), %s", self._deaths, self._state, exc_info=error)
        self._end_all(EngineUnavailable(f"The engine of {self._name} stopped working and is restarted.", retry_after_s=1.0))
        if self._state == "failed":
            self._closing.wait()
            return
        self._closing.wait(min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (self._deaths - 1)))
        if not self._closing.is_set():
            self._scheduler = self._make_scheduler()
            self._enter("ready", "")

    def _enter(self, state: State, reason: str) -> None:
        """Changes the state; closed is final."""
        with self._lock:
            if self._state != "closed":
                self._state, self._reason = state, reason

    def _end_all(self, error: EngineUnavailable) -> None:
        """Ends the requests that the scheduler has and those in the inbox."""
        try:
            while True:
                command = self._inbox.get_nowait()
                if command is not None:
                    command(self._scheduler)
        except queue.Empty:
            pass
        self._scheduler.fail(error)
        self.outbox.flush()
