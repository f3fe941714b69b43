"""What scorers that ask a model share: many items at once, and one item's failure as that item's lack of a number."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from trimtab.server.evaluation.scorers.base import Item, Undefined, Verdict
from trimtab.strategies.core.errors import EngineUnavailable, StrategyError

AT_ONCE = 32
"""Items that are scored at once, so that engines fill their batches."""

T = TypeVar("T")


async def each(
    items: Sequence[Item], verdict: Callable[[Item], Awaitable[Verdict]], *, at_once: int = AT_ONCE
) -> list[Verdict]:
    """One verdict an item, in order. What an engine refuses or fails on, and Undefined, is unscored with its reason.

    Raises ScorerError, and EngineUnavailable where the engine is gone: then no item says anything.
    """
    turn = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Verdict:
        async with turn:
            try:
                return await verdict(item)
            except EngineUnavailable:
                raise
            except (Undefined, StrategyError) as error:
                return Verdict(None, str(error) or type(error).__name__)

    return await all_of([one(item) for item in items])


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order; the first failure ends the rest and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def number(value: float, details: Mapping[str, Any]) -> Verdict:
    """A verdict with this value; unscored where it is no finite number."""
    if not math.isfinite(value):
        return Verdict(None, f"the model gave {value}, which is no number", details)
    return Verdict(value, details=details)
