"""Values: what a value function is asked and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.messages import Conversation


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer, whole or begun, and what it answers."""

    asked: Conversation
    """The conversation the user sent, never what a strategy rendered of it."""
    answer: str
    """The answer so far; text, without control tokens."""


class ValueFunction(Protocol):
    """Says how good answers are."""

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        """One value an answer, -1 (worst) to 1 (best); None = unscored, never 0, where no judgement could be read."""
        ...
