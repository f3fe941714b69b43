"""The one per-request object: engines by role, sampling parameters, seed, budget, trace and usage.

Strategies and their configs are frozen and shared between requests; everything that changes during a request lives here.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trimtab.strategies.core.engine import Call, Params, Ports
from trimtab.strategies.core.errors import BudgetExceeded, DeadlineExceeded, MissingRole
from trimtab.strategies.core.messages import Usage

TraceLevel = Literal["none", "summary", "full"]
StepStatus = Literal["applied", "skipped", "degraded", "failed"]


@dataclass(slots=True)
class Meter:
    """Counts of one role's engine calls."""

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    discarded_tokens: int = 0
    """Completion tokens that are not part of the answer."""


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

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


@dataclass(slots=True)
class Step:
    """What one step of the pipeline did; the trace is the list of them."""

    strategy: str
    role: str
    status: StepStatus = "applied"
    reason: str = ""
    changed: bool = False
    ms: float = 0.0
    meters: dict[str, Meter] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    """Shown at trace levels summary and full."""
    full: dict[str, Any] = field(default_factory=dict)
    """Shown at level full only: texts, trees, diffs."""

    def note(self, **details: Any) -> None:
        """Record what the summary shows."""
        self.details.update(details)

    def note_full(self, **details: Any) -> None:
        """Record what only a full trace shows."""
        self.full.update(details)

    def skip(self, reason: str) -> None:
        """This step leaves the turn alone, by policy."""
        self.status, self.reason = "skipped", reason

    def degrade(self, reason: str) -> None:
        """This step ran in a lesser form."""
        self.status, self.reason = "degraded", reason

    def meter(self, role: str) -> Meter:
        """The counts of one engine role in this step."""
        return self.meters.setdefault(role, Meter())


@dataclass(slots=True)
class Trace:
    """The steps of a request and its warnings."""

    id: str
    level: TraceLevel = "summary"
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def begin(self, strategy: str, role: str) -> Step:
        """A new step at the end of the list."""
        step = Step(strategy, role)
        self.steps.append(step)
        return step

    def warn(self, message: str) -> None:
        """Record a warning once."""
        if message not in self.warnings:
            self.warnings.append(message)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Everything a strategy may touch while it aligns one request."""

    request_id: str
    engines: Mapping[str, Ports]
    """Metered engines by role: policy always; judge, reward, aligner, embed where configured."""
    params: Params
    budget: Budget
    trace: Trace
    step: Step
    seed: int = 0
    """Where a strategy's randomness starts; the request's own seed, or one drawn for it."""
    cache_salt: str | None = None
    priority: int = 0
    resources: Mapping[str, Any] = field(default_factory=dict)
    """Stores a strategy may read (corpora by name, encoders)."""

    def engine(self, role: str = "policy") -> Ports:
        """The engine of a role; judges fall back to the policy. Raises MissingRole."""
        if role in self.engines:
            return self.engines[role]
        if role == "judge":
            return self.engines["policy"]
        raise MissingRole(f"no engine is configured for the role {role!r}; configured: {', '.join(sorted(self.engines))}")

    def call(self, role: str = "policy") -> Call:
        """The name under which an engine call of this step runs."""
        return Call(self.request_id, role, self.priority, self.cache_salt)

    def in_step(self, step: Step) -> "RequestContext":
        """This context inside another step."""
        return replace(self, step=step)
