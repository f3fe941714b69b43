"""The account of a request: the `alignment` object, the sums of `usage` and the headers, from the trace and the meters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trimtab.server.engines.base import Wire
from trimtab.server.wire import usage_object
from trimtab.strategies.core.budget import Meter
from trimtab.strategies.core.context import RequestContext, Step, TraceLevel
from trimtab.strategies.core.messages import Usage
from trimtab.strategies.pipeline import Pipeline, overall_status

ANSWER_ROLES = frozenset({"policy", "aligner"})
"""Roles whose calls may be the answer itself."""


@dataclass(frozen=True, slots=True)
class Account:
    """What one aligned request did and used."""

    pipeline: Pipeline
    ctx: RequestContext
    level: TraceLevel
    usage_mode: Literal["total", "final"]

    @property
    def total(self) -> Usage:
        """All engine calls together."""
        return sum((meter.usage for meter in self._meters()), Usage())

    @property
    def final(self) -> Usage:
        """The call whose answer was given: the last call of the last step that asked the policy or the aligner.

        A reviser that kept the draft gave no answer.
        """
        for step in reversed(self.ctx.trace.steps):
            if step.role == "reviser" and not step.changed:
                continue
            for role, meter in step.meters.items():
                if role in ANSWER_ROLES and meter.calls:
                    return meter.last
        return Usage()

    @property
    def status(self) -> str:
        """applied, skipped, degraded or failed."""
        return overall_status(self.ctx.trace)

    def usage(self) -> Wire:
        """The answer's `usage` object."""
        return usage_object(self.total if self.usage_mode == "total" else self.final)

    def headers(self) -> dict[str, str]:
        """Headers of an answer that is not streamed."""
        return {
            "x-alignment-strategy": ",".join(self.pipeline.names),
            "x-alignment-status": self.status,
            "x-alignment-calls": str(sum(meter.calls for meter in self._meters())),
        }

    def wire(self) -> Wire:
        """The `alignment` object."""
        trace = self.ctx.trace
        body: Wire = {
            "strategy": self.pipeline.names,
            "status": self.status,
            "changed": any(step.changed for step in trace.steps),
        }
        if self.level != "none":
            body["steps"] = [self._step(step) for step in trace.steps]
        return {**body, "usage": self._usage(), "warnings": list(trace.warnings), "trace_id": trace.id}

    def _usage(self) -> Wire:
        by_role: dict[str, Meter] = {}
        for step in self.ctx.trace.steps:
            for role, meter in step.meters.items():
                known = by_role.setdefault(role, Meter())
                known.calls += meter.calls
                known.usage += meter.usage
        final = self.final
        return {
            "final": usage_object(final),
            "by_role": {role: {"calls": m.calls, **usage_object(m.usage)} for role, m in by_role.items()},
            "calls": sum(meter.calls for meter in by_role.values()),
            "discarded_tokens": self.total.completion_tokens - final.completion_tokens,
        }

    def _step(self, step: Step) -> Wire:
        used = sum((meter.usage for meter in step.meters.values()), Usage())
        body: Wire = {
            "strategy": step.strategy,
            "role": step.role,
            "status": step.status,
            "changed": step.changed,
            "ms": round(step.ms, 3),
            "calls": sum(meter.calls for meter in step.meters.values()),
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
            **({"reason": step.reason} if step.reason else {}),
        }
        return {**body, **_free(step.details, body), **(_free(step.full, body) if self.level == "full" else {})}

    def _meters(self) -> list[Meter]:
        return [meter for step in self.ctx.trace.steps for meter in step.meters.values()]


def _free(details: Mapping[str, Any], taken: Mapping[str, Any]) -> Wire:
    """Details under names that do not hide the record's own."""
    return {(f"{name}_" if name in taken else name): value for name, value in details.items()}
