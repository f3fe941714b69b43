"""Values that are remembered: the same text after the same conversation is judged once a request."""

from collections.abc import Sequence
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

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        """One value an answer; an answer that could not be scored is not tried again."""
        fresh = {key: one for one in judged if (key := _key(one)) not in self.known}
        if fresh:
            found = await self.inner.values(tuple(fresh.values()), ctx)
            self._asked.extend(one.asked for one in fresh.values())
            self.known.update(zip(fresh, found, strict=True))
        return tuple(self.known[_key(one)] for one in judged)


def _key(judged: Judged) -> Key:
    return id(judged.asked), judged.answer
