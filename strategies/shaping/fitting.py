"""What of a ranking fits into a budget of tokens, read in rank order; texts are counted no further than they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.lengths import token_lengths

Overflow = Literal["stop", "skip"]
CHARACTERS_PER_TOKEN = 5
"""Of prose, roughly: how many texts are counted at a time."""
LEAST_SLICE = 8


@dataclass(frozen=True, slots=True)
class Fitted:
    """Which texts fit."""

    kept: tuple[int, ...] = ()
    """Places in the ranking, in rank order."""
    counts: tuple[int, ...] = ()
    """Tokens of each that is kept."""
    overflow: tuple[int, int] | None = None
    """Place and tokens of the first text that went over the total; None where all fitted."""
    exact: bool = True
    """False where tokens were estimated."""

    @property
    def total(self) -> int:
        """Tokens of all that are kept."""
        return sum(self.counts)

    def taken(self, place: int, tokens: int, room: int, each: int | None, overflow: Overflow) -> "Fitted":
        """This with the next text of the ranking, if it fits."""
        if (self.overflow and overflow == "stop") or (each is not None and tokens > each):
            return self
        if self.total + tokens > room:
            return replace(self, overflow=self.overflow or (place, tokens))
        return replace(self, kept=(*self.kept, place), counts=(*self.counts, tokens))


async def fit(
    texts: Sequence[str], ctx: RequestContext, *, room: int, each: int | None = None, overflow: Overflow = "stop"
) -> Fitted:
    """The texts that fit into `room` tokens together.

    each: a text with more tokens is passed over. overflow: whether the first text that goes over the room ends the reading, or
    shorter ones behind it may still fit.
    """
    fitted, start = Fitted(), 0
    while start < len(texts) and not (fitted.overflow and overflow == "stop"):
        end = start + _likely(texts[start:], room - fitted.total)
        lengths = await token_lengths(texts[start:end], ctx)
        fitted = replace(fitted, exact=fitted.exact and lengths.exact)
        for place, tokens in enumerate(lengths.counts, start):
            fitted = fitted.taken(place, tokens, room, each, overflow)
        start = end
    return fitted


def _likely(texts: Sequence[str], room: int) -> int:
    """How many of the texts probably fill the room: one more than seem to fit, but no fewer than a slice."""
    left = room * CHARACTERS_PER_TOKEN
    for count, text in enumerate(texts, 1):
        left -= len(text)
        if left < 0:
            return max(count, LEAST_SLICE)
    return len(texts)
