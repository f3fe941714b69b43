"""How vLLM's processes wait for each other: a plugin that vLLM loads in each of them.

vLLM's core and its workers look for a message over and over for up to a second before they sleep. On a CPU the workers compute
on every core, and a core that looks is a core that they wait for. The plugin shortens that time; it does nothing where
`TRIMTAB_VLLM_BUSY_WAIT_S` is not set, as in a vLLM that Trimtab has not started.

Asleep, a process looks every `LOOK_MS` all the same. Of two messages within about a millisecond vLLM may lose the second call
to wake up (a ZeroMQ socket that queues one, and learns with that delay that it has gone), harmless while all are awake.

It lies outside the package `vllm`, so that a worker imports nothing else for it.
"""

import inspect
import logging
import os
from typing import Any

VARIABLE = "TRIMTAB_VLLM_BUSY_WAIT_S"
"""Seconds."""
LOOK_MS = 20

logger = logging.getLogger(__name__)


def register() -> None:
    """Called by vLLM, in each of its processes. Raises ValueError for a variable that is no number."""
    given = os.environ.get(VARIABLE)
    if given is None:
        return
    try:
        seconds = float(given)
    except ValueError:
        raise ValueError(f"{VARIABLE} must be a number of seconds, not {given!r}") from None
    from vllm.distributed.device_communicators import shm_broadcast

    known = shm_broadcast.SpinCondition
    if "busy_loop_s" not in inspect.signature(known.__init__).parameters:
        logger.warning("this vLLM cannot be told how long to wait busily; %s has no effect", VARIABLE)
        return
    shm_broadcast.SpinCondition = shortened(known, seconds)


def shortened(condition: type[Any], seconds: float) -> type[Any]:
    """The same condition, waiting busily for so long."""

    class Shortened(condition):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{"busy_loop_s": seconds, **kwargs})

        def wait(self, timeout_ms: int | None = None) -> None:
            super().wait(LOOK_MS if timeout_ms is None else min(timeout_ms, LOOK_MS))

    return Shortened
