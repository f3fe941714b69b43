"""What is judged once: the same text, also while somebody else is having it judged; a failure is nobody else's."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.strategies.doubles import context, said
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.errors import EngineFailure
from trimtab.strategies.judging.remembered import Remembered
from trimtab.strategies.judging.value import Judged

ASKED = said("hello")


@dataclass
class Slow:
    """Judges when it is let; the length of the answer is its value."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[str] = field(default_factory=list)
    fails: int = 0
    """How many calls fail first."""

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        self.seen += [one.answer for one in judged]
        await self.open.wait()
        if self.fails:
            self.fails -= 1
            raise EngineFailure("the judge broke")
        return tuple(float(len(one.answer)) for one in judged)


async def test_a_text_is_judged_once() -> None:
    inner = Slow()
    inner.open.set()
    remembered = Remembered(inner)
    assert await remembered.values([Judged(ASKED, "a"), Judged(ASKED, "bb"), Judged(ASKED, "a")], context()) == (1, 2, 1)
    assert await remembered.values([Judged(ASKED, "bb"), Judged(ASKED, "ccc")], context()) == (2, 3)
    assert inner.seen == ["a", "bb", "ccc"]


async def test_what_is_being_judged_is_waited_for() -> None:
    inner = Slow()
    remembered = Remembered(inner)
    first = asyncio.create_task(remembered.values([Judged(ASKED, "a")], context()))
    second = asyncio.create_task(remembered.values([Judged(ASKED, "a"), Judged(ASKED, "bb")], context()))
    await asyncio.sleep(0)
    inner.open.set()
    assert (await first, await second) == ((1,), (1, 2))
    assert inner.seen == ["a", "bb"]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_failure_is_its_own_callers(cancelled: bool) -> None:
    inner = Slow(fails=0 if cancelled else 1)
    remembered = Remembered(inner)
    first = asyncio.create_task(remembered.values([Judged(ASKED, "a")], context()))
    second = asyncio.create_task(remembered.values([Judged(ASKED, "a")], context()))
    await asyncio.sleep(0)
    if cancelled:
        first.cancel()
    inner.open.set()
    with pytest.raises(asyncio.CancelledError if cancelled else EngineFailure):
        await first
    assert await second == (1,)
    assert inner.seen == ["a", "a"]
