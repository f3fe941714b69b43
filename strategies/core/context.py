"""The one per-request object: engines by role, sampling parameters, seed, budget, trace and usage.

Strategies and their configs are frozen and shared between requests; everything that changes during a request lives here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trimtab.strategies.core.budget import Budget, Meter
from trimtab.strategies.core.engine import Call, Params, Ports
from trimtab.strategies.core.errors import MissingRole
from trimtab.strategies.core.metering import Metered
from trimtab.strategies.core.stores import Corpora, TextEncoder

TraceLevel = Literal["none", "summary", "full"]
StepStatus = Literal["applied", "skipped", "degraded", "failed"]
SEVERITY: tuple[StepStatus, ...] = ("failed", "degraded", "applied", "skipped")
"""Which status speaks for several."""


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

    def gather(self, choices: Sequence["Step"]) -> None:
        """Take in what this step did for each choice: the worst status, skipped only where every choice was."""
        self.changed = any(one.changed for one in choices)
        self.ms = max((one.ms for one in choices), default=0.0)
        self.skip("no draft")
        for one in choices:
            if one is choices[0] or SEVERITY.index(one.status) < SEVERITY.index(self.status):
                self.status, self.reason = one.status, one.reason
        for one in choices:
            for role, meter in one.meters.items():
                self.meter(role).add(meter)
        if len(choices) == 1:
            self.details, self.full = choices[0].details, choices[0].full
        else:
            self._list_details(choices)

    def _list_details(self, choices: Sequence["Step"]) -> None:
        """One record a choice, where there is anything to tell."""
        if any(one.details for one in choices):
            self.details["choices"] = [one.details for one in choices]
        if any(one.full for one in choices):
            self.full["choices"] = [one.full for one in choices]

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
    """Engines by role: policy always; judge, reward, aligner, embed where configured. Reach them through `engine()`."""
    params: Params
    budget: Budget
    trace: Trace
    step: Step
    seed: int = 0
    """Where a strategy's randomness starts; the request's own seed, or one drawn for it."""
    cache_salt: str | None = None
    priority: int = 0
    corpora: Corpora | None = None
    """Norms and demonstrations; None where the server keeps none."""
    encoder: TextEncoder | None = None
    """Embeds texts; None where the server has no encoder."""
    cautions: Mapping[str, str] = field(default_factory=dict)
    """What is to be warned of where a step asks the engine of a role, e.g. a judge that is near chance."""
    rendered_later: bool = False
    """Whether a later step of the pipeline turns the conversation into a raw prompt."""

    def engine(self, role: str = "policy") -> Ports:
        """The metered engine of a role; judges fall back to the policy. Raises MissingRole."""
        ports = self.engines.get(role) or (self.engines["policy"] if role == "judge" else None)
        if ports is not None:
            return Metered(ports, self.budget, self.step.meter(role)).bound()
        raise MissingRole(f"no engine is configured for the role {role!r}; configured: {', '.join(sorted(self.engines))}")

    def call(self, role: str = "policy") -> Call:
        """The name under which an engine call of this step runs."""
        return Call(self.request_id, role, self.priority, self.cache_salt)

    def in_step(self, step: Step) -> "RequestContext":
        """This context inside another step."""
        return replace(self, step=step)

    def for_choice(self, index: int) -> "RequestContext":
        """This context for one of several choices: what the first draws is as if it were alone, each other draws its own."""
        if index == 0:
            return self
        return replace(self, seed=self.seed_of(f"choice:{index}"))

    def seed_of(self, label: str) -> int:
        """A seed of its own for what is drawn under a label, fixed by this one."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{label}".encode()).digest()[:4], "big") >> 1
