"""Starts that fail, hang or are cancelled leave no process behind; with stand-ins for vLLM's processes."""

import asyncio
import multiprocessing
import threading
import time
from typing import Any

import pytest

pytest.importorskip("psutil", reason="comes with vLLM")

from trimtab.server.engines.vllm.launch import launch

CONTEXT = multiprocessing.get_context("spawn")


class Construction:
    """A constructor that starts a process and then waits for it to answer, as vLLM's does."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.child: Any = None

    def hang(self) -> None:
        """Waits for its process; fails once that has ended."""
        self._start()
        self.child.join()
        raise RuntimeError("the engine core ended")

    def fail(self) -> None:
        """Starts a process and fails."""
        self._start()
        raise ValueError("no memory")

    def _start(self) -> None:
        self.child = CONTEXT.Process(target=time.sleep, args=(600,))
        self.child.start()
        self.started.set()


async def test_a_start_that_takes_too_long_is_ended() -> None:
    construction = Construction()
    with pytest.raises(TimeoutError, match="within 1 s"):
        await launch(construction.hang, timeout_s=1.0)
    assert not construction.child.is_alive()


async def test_a_failed_start_ends_its_processes() -> None:
    construction = Construction()
    with pytest.raises(ValueError, match="no memory"):
        await launch(construction.fail, timeout_s=60.0)
    assert not construction.child.is_alive()


async def test_a_cancelled_start_ends_its_processes() -> None:
    construction = Construction()
    task = asyncio.create_task(launch(construction.hang, timeout_s=60.0))
    await asyncio.to_thread(construction.started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not construction.child.is_alive()


async def test_processes_of_others_are_left_alone() -> None:
    other = CONTEXT.Process(target=time.sleep, args=(600,))
    other.start()
    try:
        with pytest.raises(ValueError, match="no memory"):
            await launch(Construction().fail, timeout_s=60.0)
        assert other.is_alive()
    finally:
        other.kill()
        other.join()
