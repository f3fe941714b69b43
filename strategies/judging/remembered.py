"""Values that are remembered: the same text after the same conversation is judged once a request."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.judging.value import Judged, ValueFunction

Key = tuple[int, str]
"""Which conversation (its identity in this request), and the answer's text."""


@dataclass(slots=True)
class Remembered:
    """A value function that asks another one only for what it has not judged yet. One object a request."""

    inner: ValueFunction
    known: dict[Key, float | None] = field(default_factory=dict)
    _asked: list[object] = field(default_factory=list)
    """Keeps the conversations alive, so that an identity stays theirs."""
    _under_way: dict[Key, asyncio.Event] = field(default_factory=dict)
    """What is being judged for somebody else, until that has ended."""

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        """One value an answer; an answer that could not be scored is not tried again.

        What another caller is having judged is waited for; where that fails, it is asked for here.
        """
        wanted = {_key(one): one for one in judged}
        while missing := [key for key in wanted if key not in self.known]:
            fresh = {key: wanted[key] for key in missing if key not in self._under_way}
            if fresh:
                await self._judge(fresh, ctx)
            else:
                await self._under_way[missing[0]].wait()
        return tuple(self.known[_key(one)] for one in judged)

    async def _judge(self, fresh: Mapping[Key, Judged], ctx: RequestContext) -> None:
        ended = asyncio.Event()
        self._asked.extend(one.asked for one in fresh.values())
        self._under_way.update(dict.fromkeys(fresh, ended))
        try:
            self.known.update(zip(fresh, await self.inner.values(tuple(fresh.values()), ctx), strict=True))
        finally:
            for key in fresh:
                del self._under_way[key]
            ended.set()


def _key(judged: Judged) -> Key:
    return id(judged.asked), judged.answer
