"""A whole answer of one engine call, and what may take a draft's place."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from trimtab.strategies.core.messages import Delta

SHORTEST_CHARS = 4
"""A revision that is shorter than this, and than what it revises, is none."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """One choice of an engine call."""

    text: str
    finish_reason: str
    pieces: tuple[Delta, ...] = ()

    def said(self, text: str) -> "Gathered":
        """The same with another text; the engine's own pieces go with it where they say the same."""
        return replace(self, text=text, pieces=self.pieces if text == self.text else ())

    def deltas(self) -> list[Delta]:
        """The choice to be yielded: log-probabilities and token ids stay where the text is the engine's own."""
        if self.pieces:
            return list(self.pieces)
        return [Delta(text=self.text, finish_reason=self.finish_reason)]


async def gather(stream: AsyncGenerator[Delta, None]) -> Gathered:
    """The one choice of a stream."""
    pieces: list[Delta] = []
    finish = "stop"
    async with aclosing(stream) as deltas:
        async for delta in deltas:
            if delta.text or delta.finish_reason or delta.logprobs:
                pieces.append(replace(delta, index=0, usage=None))
            finish = delta.finish_reason or finish
    return Gathered("".join(piece.text for piece in pieces), finish, tuple(pieces))


def refusal(new: Gathered, old: str) -> str | None:
    """Why a text cannot take the place of another one; None where it can."""
    if not new.text.strip():
        return "empty"
    if new.finish_reason == "length":
        return "truncated"
    if new.finish_reason != "stop":
        return f"finish_reason is {new.finish_reason}"
    return "too short" if len(new.text.strip()) < min(SHORTEST_CHARS, len(old.strip())) else None


def kept(draft: str) -> Delta:
    """The draft as it is."""
    return Delta(text=draft, finish_reason="stop")
