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
    """The answer so far, from its first word on (the prefill of what was asked included); text, without control tokens."""

    def turns(self, users: int) -> list[tuple[str, str]]:
        """Role and text of what was said since the user's last `users` turns, the answer left out; system text never."""
        said = [(message.role, message.text) for message in self.asked.messages if message.role in ("user", "assistant")]
        starts = [place for place, (role, _) in enumerate(said) if role == "user"]
        return said[starts[-users:][0] :] if starts else said


class ValueFunction(Protocol):
    """Says how good answers are."""

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        """One value an answer, -1 (worst) to 1 (best); None = unscored, never 0, where no judgement could be read.

        Where the budget or the deadline ends the judging, what was judged before is returned and the rest is None; raises
        BudgetExceeded or DeadlineExceeded where nothing was judged.
        """
        ...
