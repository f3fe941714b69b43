"""Starting AsyncLLM without blocking the event loop, knowing its processes, and leaving none of them behind."""

import asyncio
import contextlib
import logging
import multiprocessing
import multiprocessing.process
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import psutil

from trimtab.server.engines.vllm.guard import Guard

logger = logging.getLogger(__name__)

_START_LOCK = threading.Lock()
"""Engines start one after the other, so that each knows which processes are its own."""

STOP_S = 2.0
"""How long processes may take to end by themselves before they are killed; their work was aborted before."""

GIVE_UP_S = 20.0
"""How long a start whose processes were killed may take to fail."""


class Launched:
    """A running AsyncLLM and the processes behind it."""

    def __init__(self, engine: Any, processes: Iterable[psutil.Process]) -> None:
        self.engine = engine
        self._processes = tuple(processes)
        self._guard = Guard(process.pid for process in self._processes)
        self._stopped = False

    async def wait_dead(self) -> str:
        """Return once one of its core processes has ended; a core ends when a worker of its own does."""
        manager = self.engine.engine_core.resources.engine_manager
        if not hasattr(manager, "sentinels"):
            return await self._wait_remote_dead()
        loop = asyncio.get_running_loop()
        dead = asyncio.Event()
        sentinels = list(manager.sentinels())
        for sentinel in sentinels:
            loop.add_reader(sentinel, dead.set)
        try:
            await dead.wait()
        finally:
            for sentinel in sentinels:
                loop.remove_reader(sentinel)
        return "an engine process ended"

    async def _wait_remote_dead(self) -> str:
        """The same for cores on other machines, which only say so when asked."""
        while not self.engine.errored:  # noqa: ASYNC110  # vLLM has no event for it
            await asyncio.sleep(1.0)
        return "a remote engine core ended"

    async def stop(self) -> None:
        """End its processes; kill what is left of them. Safe to call twice, and on a dead engine."""
        if self._stopped:
            return
        self._stopped = True
        self._end_requests()
        await asyncio.to_thread(self.engine.shutdown, STOP_S)
        await asyncio.to_thread(end_processes, self._processes)
        await asyncio.to_thread(self._guard.dismiss)
        await asyncio.to_thread(self.engine.engine_core.resources.ctx.destroy, 0)

    def _end_requests(self) -> None:
        """Everything under way fails now; vLLM's own task for that is stopped, because it logs a close as a failure."""
        from vllm.v1.engine.exceptions import EngineDeadError

        if self.engine.output_handler is not None:
            self.engine.output_handler.cancel()
        self.engine.output_processor.propagate_error(EngineDeadError())


async def launch(build: Callable[[], Any], *, timeout_s: float) -> Launched:
    """The engine that `build` constructs, in a thread of its own. A failed, late or cancelled start leaves no process.

    Raises TimeoutError after `timeout_s` seconds, or what `build` raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Launched] = loop.create_future()
    start = _Start(build)

    def run() -> None:
        try:
            launched = start.run()
        except BaseException as error:  # noqa: BLE001  # the border of this thread: everything goes to the awaiting task
            _report(loop, done, partial(done.set_exception, error))
        else:
            if not _report(loop, done, partial(done.set_result, launched)):
                launched.engine.shutdown(STOP_S)

    thread = threading.Thread(target=run, name="vllm-start", daemon=True)
    thread.start()
    try:
        return await asyncio.wait_for(asyncio.shield(done), timeout_s)
    except TimeoutError:
        await _abandon(start, done)
        raise TimeoutError(f"the vLLM engine did not start within {timeout_s:.0f} s") from None
    except asyncio.CancelledError:
        await _abandon(start, done)
        raise


def _report(loop: asyncio.AbstractEventLoop, done: "asyncio.Future[Launched]", put: Callable[[], None]) -> bool:
    """Hand a result to the loop; False where it has gone."""
    try:
        loop.call_soon_threadsafe(lambda: None if done.done() else put())
    except RuntimeError:
        return False
    return True


async def _abandon(start: "_Start", done: "asyncio.Future[Launched]") -> None:
    """Make a start that nobody waits for any more fail, and clear what it leaves."""
    await asyncio.to_thread(start.give_up)
    with contextlib.suppress(Exception):
        launched = await asyncio.wait_for(done, GIVE_UP_S)
        await launched.stop()


class _Start:
    """One construction of an engine, which can be given up while it runs."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._before: set[int] = set()
        self._running = False
        self._given_up = False

    def run(self) -> Launched:
        with _START_LOCK:
            if self._given_up:
                raise RuntimeError("the start was given up")
            self._before = set(_own_children())
            self._running = True
            try:
                return Launched(self._build(), self._own())
            except BaseException:
                end_processes(self._own())
                raise
            finally:
                self._running = False

    def give_up(self) -> None:
        """Kill what the construction has started; without its processes it fails."""
        self._given_up = True
        if self._running:
            end_processes(self._own(), grace_s=0.0)

    def _own(self) -> list[psutil.Process]:
        return [p for pid in _own_children().keys() - self._before for p in _family(pid)]


def _own_children() -> dict[int, multiprocessing.process.BaseProcess]:
    """The processes that multiprocessing runs for this one, by id."""
    return {child.pid: child for child in multiprocessing.active_children() if child.pid is not None}


def _family(pid: int) -> list[psutil.Process]:
    """A process and its descendants; nothing where it has ended."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end_processes(processes: Iterable[psutil.Process], grace_s: float = STOP_S) -> None:
    """Wait `grace_s` seconds for processes to end by themselves, then kill the rest. Reused process ids are not touched."""
    for process in _wait(list(processes), grace_s):
        logger.warning("killing left-over engine process %d", process.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(list(processes), GIVE_UP_S)


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that are alive after `timeout_s` seconds. Our own children are waited for by multiprocessing, which reaps them."""
    deadline = time.monotonic() + timeout_s
    children = _own_children()
    for process in processes:
        if process.pid in children:
            children[process.pid].join(max(0.0, deadline - time.monotonic()))
    others = [process for process in processes if process.pid not in children and process.is_running()]
    _, alive = psutil.wait_procs(others, timeout=max(0.0, deadline - time.monotonic()))
    return [*alive, *(p for p in processes if p.pid in children and children[p.pid].is_alive())]
