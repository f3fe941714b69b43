"""Waiting for a state that announces itself by no event."""

import asyncio
from collections.abc import Awaitable, Callable

STEPS, STEP_S = 2000, 0.005


async def until(check: Callable[[], bool | Awaitable[bool]]) -> None:
    """Returns when the check holds; fails after ten seconds."""
    for _ in range(STEPS):
        found = check()
        if found if isinstance(found, bool) else await found:
            return
        await asyncio.sleep(STEP_S)
    raise AssertionError("what was waited for did not happen in ten seconds")
