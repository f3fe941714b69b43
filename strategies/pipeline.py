"""The pipeline: shape*, decode, revise*, as a fold; what happens when a step fails; what the whole did."""

import itertools
import logging
import time
from asyncio import TaskGroup
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal

from trimtab.strategies.core.config import Cost, RoleName, StrategyConfig, Streaming
from trimtab.strategies.core.context import RequestContext, Step, StepStatus, Trace
from trimtab.strategies.core.engine import Params, Ports
from trimtab.strategies.core.errors import (
    ConfigError,
    ContextLengthExceeded,
    EngineFailure,
    MissingCapability,
    MissingRole,
    StrategyError,
)
from trimtab.strategies.core.messages import Delta, Prompt
from trimtab.strategies.core.roles import Decoder, PromptShaper, Reviser
from trimtab.strategies.decoding.plain import PlainConfig

logger = logging.getLogger(__name__)

OnError = Literal["closed", "open", "degrade"]
ORDER: Mapping[RoleName, int] = {"shaper": 0, "decoder": 1, "reviser": 2}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Any number of shapers, one decoder (plain where none is named), any number of revisers."""

    shapers: tuple[StrategyConfig, ...] = ()
    decoder: StrategyConfig = field(default_factory=PlainConfig)
    revisers: tuple[StrategyConfig, ...] = ()

    @classmethod
    def of(cls, steps: Sequence[StrategyConfig], *, param: str = "alignment.strategy") -> "Pipeline":
        """The pipeline of a list of configurations. Raises ConfigError where shape, decode, revise is not their order."""
        for earlier, later in itertools.pairwise(steps):
            if ORDER[earlier.role] > ORDER[later.role]:
                raise ConfigError(
                    f"{later.kind} ({later.role}) cannot come after {earlier.kind} ({earlier.role}): "
                    "the order is shapers, then one decoder, then revisers",
                    param=param,
                )
        _check_raw(steps, param)
        decoders = [step for step in steps if step.role == "decoder"]
        if len(decoders) > 1:
            names = ", ".join(step.kind for step in decoders)
            raise ConfigError(f"a pipeline has exactly one decoder; this one names {names}", param=param)
        return cls(
            tuple(step for step in steps if step.role == "shaper"),
            decoders[0] if decoders else PlainConfig(),
            tuple(step for step in steps if step.role == "reviser"),
        )

    @property
    def steps(self) -> tuple[StrategyConfig, ...]:
        """All steps in order, a plain decoder included."""
        return (*self.shapers, self.decoder, *self.revisers)

    def locked(self) -> "Pipeline":
        """This pipeline as a lock runs it."""
        shapers, revisers = (tuple(step.locked() for step in steps) for steps in (self.shapers, self.revisers))
        return Pipeline(shapers, self.decoder.locked(), revisers)

    @property
    def names(self) -> list[str]:
        """The strategies by name; `plain` alone where there is none."""
        return [step.kind for step in self.steps if step.kind != "plain"] or ["plain"]

    @property
    def is_plain(self) -> bool:
        """Whether nothing aligns the answer."""
        return self.names == ["plain"]

    @property
    def decodes_natively(self) -> bool:
        """Whether the engine's own answer to the shaped prompt is the answer."""
        return isinstance(self.decoder, PlainConfig) and not self.revisers

    @property
    def streaming(self) -> Streaming:
        """How its answers stream."""
        modes = {step.streaming for step in self.steps}
        return "buffered" if "buffered" in modes else "incremental" if "incremental" in modes else "native"

    @property
    def accepts_text(self) -> bool:
        """Whether it works on raw prompts."""
        return all(step.accepts_text for step in self.steps)

    @property
    def is_anytime(self) -> bool:
        """Whether a step is ended by a spent budget with its best so far."""
        return any(step.anytime for step in self.steps)

    def cost(self, params: Params, *, bounded: bool = False) -> Cost:
        """Worst case in engine calls and generated tokens; each of `n` choices is revised on its own.

        bounded: without steps that a budget only cuts short.
        """
        total = Cost(1, params.n * (params.max_tokens or 0))
        for step in self.steps:
            if bounded and step.anytime:
                continue
            once = step.cost(params)
            times = params.n if step.role == "reviser" else 1
            total += Cost(once.calls * times, once.completion_tokens * times)
        return total

    def check(self, engines: Mapping[str, Ports], *, param: str = "alignment.strategy") -> None:
        """Raise MissingCapability or MissingRole where these engines cannot run it."""
        policy = engines["policy"]
        for step in self.steps:
            missing = sorted(step.needs() - policy.names())
            if missing:
                raise MissingCapability(
                    f"{step.kind} needs the engine's {' and '.join(missing)} port; this engine has "
                    f"{', '.join(sorted(policy.names()))}",
                    param=param,
                )
            for role in sorted(step.engine_roles() - set(engines)):
                raise MissingRole(f"{step.kind} needs an engine for the role {role!r}, and none is configured", param=param)
            step.check(engines, param=param)
        if not (self.is_plain or policy.messages or any(step.may_render_text() for step in self.shapers)):
            raise MissingCapability(
                f"this engine answers no conversations (a base model without a chat template), and {', '.join(self.names)} "
                "leaves them as they are; put urial behind the shapers: it renders a raw prompt",
                param=param,
            )

    def prove(self, engines: Mapping[str, Ports]) -> None:
        """Try out what `check` cannot see; may block. Raises MissingCapability."""
        for step in self.steps:
            step.prove(engines)

    async def shape(self, prompt: Prompt, ctx: RequestContext, on_error: OnError) -> Prompt:
        """The prompt after all shapers. Under `open` a failure is raised too: the caller answers plainly."""
        for place, config in enumerate(self.shapers):
            later = any(other.renders_text() for other in self.shapers[place + 1 :])
            with _Timed(ctx.trace.begin(config.kind, "shaper"), ctx.trace) as step:
                try:
                    shaper: PromptShaper = config.build()
                    shaped = await shaper.shape(prompt, replace(ctx.in_step(step), rendered_later=later))
                except Exception as error:  # noqa: BLE001  a step may be anybody's plug-in; policy decides what follows
                    _left_out(step, error, on_error, ctx.trace)
                    continue
                step.changed = shaped != prompt
                prompt = shaped
        return prompt

    async def decode(
        self, prompt: Prompt, params: Params, ctx: RequestContext, on_error: OnError
    ) -> AsyncGenerator[Delta, None]:
        """The decoder's deltas; under `degrade` a decoder that fails before its first delta gives way to plain decoding."""
        with _Timed(ctx.trace.begin(self.decoder.kind, "decoder"), ctx.trace) as step:
            plain, begun = isinstance(self.decoder, PlainConfig), False
            try:
                decoder: Decoder = self.decoder.build()
                async with aclosing(decoder.decode(prompt, params, ctx.in_step(step))) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                step.changed = step.status != "skipped" and not plain
                return
            except Exception as error:  # as in shape: anybody's plug-in
                if begun or plain:
                    told = _as_strategy_error(step, error)
                    step.status, step.reason = "failed", str(told)
                    raise told from error
                _left_out(step, error, on_error, ctx.trace)
        async with aclosing(Pipeline().decode(prompt, params, ctx, "closed")) as deltas:
            async for delta in deltas:
                yield delta

    async def run(self, prompt: Prompt, params: Params, ctx: RequestContext, on_error: OnError) -> AsyncGenerator[Delta, None]:
        """Decode a shaped prompt and revise each choice; without revisers the decoder's deltas pass through."""
        if not self.revisers:
            async with aclosing(self.decode(prompt, params, ctx, on_error)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        drafts: dict[int, Draft] = {}
        async with aclosing(self.decode(prompt, params, ctx, on_error)) as deltas:
            async for delta in deltas:
                drafts[delta.index] = drafts.get(delta.index, Draft(delta.index)).extended(delta)
        steps = [ctx.trace.begin(config.kind, "reviser") for config in self.revisers]
        own = {index: [_not_reached(config) for config in self.revisers] for index in drafts}
        try:
            async with TaskGroup() as group:
                tasks = [
                    group.create_task(self._revised(prompt, draft, own[index], ctx, on_error))
                    for index, draft in drafts.items()
                ]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            for place, step in enumerate(steps):
                step.gather([choice[place] for choice in own.values()])
        for task in tasks:
            for delta in task.result().deltas():
                yield delta

    async def _revised(
        self, prompt: Prompt, draft: "Draft", steps: list[Step], ctx: RequestContext, on_error: OnError
    ) -> "Draft":
        """One choice after all revisers, with a record of its own for each. Tool calls and empty drafts are left alone."""
        own = ctx.for_choice(draft.index)
        for config, step in zip(self.revisers, steps, strict=True):
            if draft.calls_tools or not draft.text:
                step.skip("tool call" if draft.calls_tools else "empty draft")
                continue
            step.status, step.reason = "applied", ""
            with _Timed(step, ctx.trace):
                reviser: Reviser = config.build()
                revised = Draft(draft.index)
                try:
                    async with aclosing(reviser.revise(prompt, draft.text, own.in_step(step))) as deltas:
                        async for delta in deltas:
                            revised = revised.extended(delta)
                except Exception as error:  # noqa: BLE001  as in shape
                    _left_out(step, error, on_error, ctx.trace)
                    continue
                if revised.text != draft.text:
                    step.changed = True
                    draft = revised
        return draft


@dataclass(frozen=True, slots=True)
class Draft:
    """One choice, gathered."""

    index: int
    text: str = ""
    finish_reason: str = "stop"
    pieces: tuple[Delta, ...] = ()

    @property
    def calls_tools(self) -> bool:
        """Whether it asks for a tool instead of answering."""
        return any("tool_calls" in piece.fields for piece in self.pieces)

    def extended(self, delta: Delta) -> "Draft":
        """This draft with one more delta."""
        return replace(
            self,
            text=self.text + delta.text,
            finish_reason=delta.finish_reason or self.finish_reason,
            pieces=(*self.pieces, delta),
        )

    def deltas(self) -> list[Delta]:
        """The choice as deltas: a tool call as it came, a text in one piece."""
        if self.calls_tools:
            return list(self.pieces)
        ids = tuple(i for piece in self.pieces for i in piece.token_ids)
        logprobs = tuple(entry for piece in self.pieces for entry in piece.logprobs)
        return [Delta(self.index, self.text, self.finish_reason, logprobs, token_ids=ids)]


@dataclass(slots=True)
class _Timed:
    """Adds the wall time of a step to its record, and whether the budget cut it."""

    step: Step
    trace: Trace
    start: float = 0.0

    def __enter__(self) -> Step:
        self.start = time.perf_counter()
        return self.step

    def __exit__(self, *_: object) -> None:
        self.step.ms += (time.perf_counter() - self.start) * 1000
        if self.step.status == "applied" and any(meter.cut for meter in self.step.meters.values()):
            self.step.degrade("cut by alignment.budget.max_tokens")
            self.trace.warn(f"{self.step.strategy} was cut by alignment.budget.max_tokens")


def overall_status(trace: Trace) -> StepStatus:
    """applied, skipped (no step changed this turn, by policy), degraded or failed."""
    statuses = {step.status for step in trace.steps}
    own = {step.status for step in trace.steps if step.strategy != "plain"}
    worst: StepStatus
    for worst in ("failed", "degraded"):
        if worst in statuses:
            return worst
    return "skipped" if own == {"skipped"} else "applied"


def combined(lock: Pipeline, wish: Pipeline) -> Pipeline:
    """A locked pipeline with a client's shapers before it and revisers after it."""
    return Pipeline((*wish.shapers, *lock.shapers), lock.decoder, (*lock.revisers, *wish.revisers))


def beyond(wish: Pipeline, lock: Pipeline) -> Pipeline | None:
    """What a pipeline adds before and after the locked one that it holds already; None where it does not hold it."""
    before, after = len(wish.shapers) - len(lock.shapers), len(lock.revisers)
    if before < 0 or wish.shapers[before:] != lock.shapers:
        return None
    if wish.decoder != lock.decoder or wish.revisers[:after] != lock.revisers:
        return None
    return Pipeline(wish.shapers[:before], revisers=wish.revisers[after:])


def _check_raw(steps: Sequence[StrategyConfig], param: str) -> None:
    """Raise ConfigError where a step that works on conversations only would meet a raw prompt.

    Revisers are free: they see the conversation that was asked, whatever was rendered of it.
    """
    raw: StrategyConfig | None = None
    for step in steps:
        if raw is not None and step.role != "reviser" and not step.accepts_text:
            raise ConfigError(
                f"{step.kind} cannot come after {raw.kind}: {raw.kind} renders a raw prompt, and {step.kind} works on "
                f"conversations; put {raw.kind} behind the other shapers",
                param=param,
            )
        if step.role == "shaper" and step.renders_text():
            raw = step


def _left_out(step: Step, error: Exception, on_error: OnError, trace: Trace) -> None:
    """Record a failed step, and raise unless policy says to go on without it."""
    told = _as_strategy_error(step, error)
    step.reason = str(told)
    if on_error == "degrade":
        step.status = "degraded"
        trace.warn(f"{step.strategy} was left out: {told}")
        logger.warning("%s was left out of %s: %s", step.strategy, trace.id, type(error).__name__, exc_info=_bug(error))
        return
    step.status = "failed"
    raise told from error


def _bug(error: Exception) -> Exception | None:
    """The error where it is nobody's: its stack belongs into the log."""
    return None if isinstance(error, StrategyError) else error


def _not_reached(config: StrategyConfig) -> Step:
    """The record of a step that has not run yet."""
    step = Step(config.kind, config.role)
    step.skip("an earlier step failed")
    return step


def _as_strategy_error(step: Step, error: Exception) -> StrategyError:
    """The error itself where it is one of ours, else a failure that names the step.

    A shaper's own call that does not fit the context window is told as the shaper's: the user's prompt alone might.
    """
    if isinstance(error, ContextLengthExceeded) and step.role == "shaper":
        return ContextLengthExceeded(f"{error} (in a prompt that {step.strategy} has extended)", param=error.param)
    return error if isinstance(error, StrategyError) else EngineFailure(f"{step.strategy} failed: {type(error).__name__}")
