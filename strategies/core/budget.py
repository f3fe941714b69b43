"""What a request may spend on engine calls, and what it has spent."""

import time
from dataclasses import dataclass, field

from trimtab.strategies.core.errors import BudgetExceeded, DeadlineExceeded
from trimtab.strategies.core.messages import Usage


@dataclass(slots=True)
class Meter:
    """Counts of one role's engine calls."""

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    last: Usage = field(default_factory=Usage)
    """Counts of the call that ended last."""
    cut: bool = False
    """Whether a call was cut by the budget's tokens."""

    def add(self, other: "Meter") -> None:
        """Take in the counts of another one."""
        self.calls += other.calls
        self.usage += other.usage
        self.last = other.last if other.calls else self.last
        self.cut = self.cut or other.cut


@dataclass(slots=True)
class Budget:
    """What a request may spend, and what it has spent. Limits are None where there is none."""

    max_calls: int | None = None
    max_tokens: int | None = None
    """Completion and prompt tokens of all engine calls together."""
    deadline: float | None = None
    """A `time.monotonic()` instant."""
    calls: int = 0
    tokens: int = 0

    def begin_call(self) -> None:
        """Count one engine call. Raises BudgetExceeded or DeadlineExceeded instead of starting it."""
        self.check()
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise BudgetExceeded(f"alignment.budget.max_calls={self.max_calls} is spent")
        self.calls += 1

    def spend(self, tokens: int) -> None:
        """Count tokens that were forwarded."""
        self.tokens += tokens

    def check(self) -> None:
        """Raise where the deadline has passed or the tokens are spent."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineExceeded("alignment.budget.deadline_ms has passed")
        if self.max_tokens is not None and self.tokens >= self.max_tokens:
            raise BudgetExceeded(f"alignment.budget.max_tokens={self.max_tokens} is spent ({self.tokens} used)")

    def room(self, n: int) -> int | None:
        """Tokens that each of `n` answers may have, at least 1; None without a limit."""
        return None if self.max_tokens is None else max(1, (self.max_tokens - self.tokens) // n)

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
