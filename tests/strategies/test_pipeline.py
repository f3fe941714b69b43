"""The fold: order, failure policies, revision of each choice, status."""

import asyncio
import time
from typing import ClassVar, Literal

import pytest

from tests.strategies.doubles import (
    BrokenShaperConfig,
    BuggyShaperConfig,
    ListEngine,
    RawShaperConfig,
    ShoutConfig,
    context,
    said,
)
from trimtab.strategies.core.budget import Budget, Meter
from trimtab.strategies.core.config import RoleName, StrategyConfig
from trimtab.strategies.core.context import RequestContext, Step
from trimtab.strategies.core.engine import Params, Ports
from trimtab.strategies.core.errors import (
    BudgetExceeded,
    ConfigError,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailure,
    MissingCapability,
    StrategyError,
)
from trimtab.strategies.core.messages import Delta, Usage
from trimtab.strategies.core.roles import Decoder
from trimtab.strategies.decoding.plain import PlainConfig
from trimtab.strategies.pipeline import OnError, Pipeline, combined, overall_status
from trimtab.strategies.shaping.value_prompt import ValuePromptConfig


async def texts(pipeline: Pipeline, ctx: RequestContext, on_error: OnError = "closed", n: int = 1) -> dict[int, str]:
    gathered: dict[int, str] = {}
    async for delta in pipeline.run(said("hello"), Params(n=n), ctx, on_error):
        gathered[delta.index] = gathered.get(delta.index, "") + delta.text
    return gathered


def test_shapers_come_before_revisers() -> None:
    with pytest.raises(ConfigError, match=r"value_prompt .* cannot come after shout"):
        Pipeline.of([ShoutConfig(), ValuePromptConfig()])


def test_one_decoder_only() -> None:
    with pytest.raises(ConfigError, match="exactly one decoder"):
        Pipeline.of([PlainConfig(), PlainConfig()])


def test_a_shaper_of_conversations_cannot_meet_a_raw_prompt() -> None:
    with pytest.raises(ConfigError, match="value_prompt cannot come after raw_shaper"):
        Pipeline.of([RawShaperConfig(), ValuePromptConfig()])
    assert Pipeline.of([ValuePromptConfig(), RawShaperConfig(), PlainConfig(), ShoutConfig()]).names


async def test_every_choice_is_revised() -> None:
    ctx = context(ListEngine(["one two", "three", "four five"]))
    assert await texts(Pipeline.of([ShoutConfig()]), ctx, n=3) == {0: "ONE TWO", 1: "THREE", 2: "FOUR FIVE"}
    assert overall_status(ctx.trace) == "applied"
    assert [step.strategy for step in ctx.trace.steps] == ["plain", "shout"]


async def test_closed_fails_with_the_steps_own_error() -> None:
    ctx = context(ListEngine(["draft"]))
    with pytest.raises(EngineFailure, match="the reviser broke"):
        await texts(Pipeline.of([ShoutConfig(fails=True)]), ctx)
    assert ctx.trace.steps[-1].status == "failed"


async def test_degrade_keeps_the_draft_and_says_so() -> None:
    ctx = context(ListEngine(["draft text"]))
    pipeline = Pipeline.of([ShoutConfig(fails=True)])
    assert await texts(pipeline, ctx, "degrade") == {0: "draft text"}
    assert overall_status(ctx.trace) == "degraded"
    assert "shout was left out" in ctx.trace.warnings[0]


async def test_degrade_leaves_a_broken_shaper_out() -> None:
    ctx = context(ListEngine([]))
    shaped = await Pipeline.of([BrokenShaperConfig(), ValuePromptConfig()]).shape(said("hi"), ctx, "degrade")
    assert shaped != said("hi")
    assert [step.status for step in ctx.trace.steps] == ["degraded", "applied"]


async def test_a_foreign_error_names_the_step_and_hides_its_detail() -> None:
    ctx = context(ListEngine([]))
    with pytest.raises(StrategyError, match="buggy_shaper failed: KeyError") as caught:
        await Pipeline.of([BuggyShaperConfig()]).shape(said("hi"), ctx, "closed")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("on_error", ["open", "degrade"])
async def test_its_detail_stays_hidden_where_the_answer_is_given(on_error: OnError) -> None:
    ctx = context(ListEngine([]))
    try:
        await Pipeline.of([BuggyShaperConfig()]).shape(said("hi"), ctx, on_error)
    except StrategyError:
        assert on_error == "open"
    assert ctx.trace.steps[0].reason == "buggy_shaper failed: KeyError"
    assert "secret" not in str(ctx.trace.warnings)


async def test_a_choice_that_is_left_alone_does_not_speak_for_the_others() -> None:
    class Mixed(ListEngine):
        async def chat(self, conversation, params, call):  # type: ignore[no-untyped-def]
            yield Delta(0, "first", "stop")
            yield Delta(1, finish_reason="stop")

    ctx = context(Mixed([]))
    assert await texts(Pipeline.of([ShoutConfig()]), ctx, n=2) == {0: "FIRST", 1: ""}
    assert (ctx.trace.steps[-1].status, ctx.trace.steps[-1].changed) == ("applied", True)
    ctx = context(Mixed([]))
    await texts(Pipeline.of([ShoutConfig(fails=True)]), ctx, "degrade", n=2)
    assert ctx.trace.steps[-1].status == "degraded"


async def test_every_reviser_is_in_the_trace_where_one_fails() -> None:
    ctx = context(ListEngine(["draft"]))
    with pytest.raises(EngineFailure):
        await texts(Pipeline.of([ShoutConfig(fails=True), ShoutConfig()]), ctx, "open")
    assert [(step.status, bool(step.reason)) for step in ctx.trace.steps[1:]] == [("failed", True), ("skipped", True)]


def test_steps_of_several_choices_are_one_record() -> None:
    choices = [Step("x", "reviser", ms=ms, changed=ms > 1) for ms in (1.0, 3.0)]
    for number, step in enumerate(choices):
        step.note(rounds=number)
        step.meter("judge").add(Meter(2, Usage(1, 2), Usage(0, 1)))
    choices[1].degrade("cut")
    whole = Step("x", "reviser")
    whole.gather(choices)
    assert (whole.status, whole.reason, whole.ms, whole.changed) == ("degraded", "cut", 3.0, True)
    assert whole.details == {"choices": [{"rounds": 0}, {"rounds": 1}]}
    assert whole.meters["judge"] == Meter(4, Usage(2, 4), Usage(0, 1))
    whole.gather([])
    assert whole.status == "skipped"


async def test_a_decoder_that_cannot_be_built_gives_way_under_degrade() -> None:
    class UnbuiltDecoderConfig(StrategyConfig):
        """Cannot be built."""

        kind: Literal["unbuilt"] = "unbuilt"
        role: ClassVar[RoleName] = "decoder"

        def build(self) -> Decoder:
            raise KeyError("a secret detail")

    pipeline = Pipeline(decoder=UnbuiltDecoderConfig())
    with pytest.raises(EngineFailure, match="unbuilt failed: KeyError"):
        await texts(pipeline, context(ListEngine(["x"])))
    ctx = context(ListEngine(["plain answer"]))
    assert await texts(pipeline, ctx, "degrade") == {0: "plain answer"}
    assert [step.status for step in ctx.trace.steps] == ["degraded", "applied"]


async def test_a_shapers_own_call_that_does_not_fit_names_the_shaper() -> None:
    class Small(ListEngine):
        async def chat(self, conversation, params, call):  # type: ignore[no-untyped-def]
            raise ContextLengthExceeded("the prompt has 900 tokens", param="messages")
            yield

    pipeline = Pipeline.of([ValuePromptConfig(condition="chain_of_thought")])
    with pytest.raises(ContextLengthExceeded, match=r"900 tokens .* value_prompt") as caught:
        await pipeline.shape(said("hi"), context(Small([])), "closed")
    assert caught.value.param == "messages"


async def test_tool_calls_are_not_revised() -> None:
    class Caller(ListEngine):
        async def chat(self, conversation, params, call):  # type: ignore[no-untyped-def]
            yield Delta(0, fields={"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]})
            yield Delta(0, finish_reason="tool_calls")

    ctx = context(Caller([]))
    deltas = [d async for d in Pipeline.of([ShoutConfig()]).run(said("x"), Params(), ctx, "closed")]
    assert deltas[0].fields["tool_calls"]
    assert deltas[-1].finish_reason == "tool_calls"
    assert ctx.trace.steps[-1].status == "skipped"
    assert ctx.trace.steps[-1].reason == "tool call"


async def test_budget_of_calls() -> None:
    ctx = context(ListEngine(["a", "b"]), budget=Budget(max_calls=1))
    await texts(Pipeline(), ctx)
    with pytest.raises(BudgetExceeded, match="max_calls=1"):
        await texts(Pipeline(), ctx)


async def test_no_call_may_take_more_than_the_budget_has_left() -> None:
    engine = ListEngine(["a b", *"cdefg"])
    ctx = context(engine, budget=Budget(max_tokens=40), params=Params(max_tokens=100))
    pipeline = Pipeline.of([ValuePromptConfig(condition="chain_of_thought")])
    await pipeline.shape(said("hi"), ctx, "closed")
    assert engine.params[-1].max_tokens == 40
    await texts(pipeline, ctx, n=5)
    assert engine.params[-1].max_tokens == (40 - 15) // 5


@pytest.mark.parametrize("pipeline", [Pipeline(), Pipeline.of([ShoutConfig()])])
async def test_an_answer_cut_by_the_budget_is_degraded(pipeline: Pipeline) -> None:
    class Cut(ListEngine):
        async def chat(self, conversation, params, call):  # type: ignore[no-untyped-def]
            yield Delta(0, "cut", "length" if params.max_tokens == 3 else "stop")

    for budget, status in ((Budget(max_tokens=3), "degraded"), (Budget(max_tokens=30), "applied")):
        ctx = context(Cut([]), budget=budget)
        await texts(pipeline, ctx)
        assert overall_status(ctx.trace) == status
        assert len(ctx.trace.warnings) == (status == "degraded")


async def test_deadline_cuts_a_hanging_engine_and_closes_it() -> None:
    class Hanging(ListEngine):
        async def chat(self, conversation, params, call):  # type: ignore[no-untyped-def]
            try:
                await asyncio.Event().wait()
                yield Delta()
            finally:
                self.closed += 1

    engine = Hanging([])
    with pytest.raises(DeadlineExceeded):
        await texts(Pipeline(), context(engine, budget=Budget(deadline=time.monotonic() + 0.02)))
    assert engine.closed == 1


async def test_calls_are_counted_by_role() -> None:
    ctx = context(ListEngine(["a b", "c"]))
    await texts(Pipeline(), ctx)
    meter = ctx.trace.steps[0].meters["policy"]
    assert (meter.calls, meter.usage.prompt_tokens, meter.usage.completion_tokens, meter.usage.cached_tokens) == (1, 10, 5, 2)
    assert ctx.budget.tokens == 15


async def test_an_abandoned_stream_is_closed_and_counted() -> None:
    engine = ListEngine(["a b c d"])
    ctx = context(engine)
    stream = Pipeline().run(said("x"), Params(), ctx, "closed")
    await anext(stream)
    await stream.aclose()
    assert engine.closed == 1
    assert ctx.trace.steps[0].meters["policy"].usage.completion_tokens == 1


def test_a_missing_port_is_found_when_the_pipeline_is_checked() -> None:
    with pytest.raises(MissingCapability, match="value_prompt needs the engine's messages port"):
        Pipeline.of([ValuePromptConfig(condition="chain_of_thought")]).check({"policy": Ports()})


def test_a_base_model_needs_a_step_that_renders_conversations() -> None:
    with pytest.raises(MissingCapability, match=r"answers no conversations .*, and value_prompt leaves them as they are"):
        Pipeline.of([ValuePromptConfig()]).check({"policy": Ports()})
    Pipeline.of([ValuePromptConfig(), RawShaperConfig()]).check({"policy": Ports()})
    Pipeline().check({"policy": Ports()})


def test_cost_counts_each_choice() -> None:
    cost = Pipeline.of([ValuePromptConfig(condition="chain_of_thought"), ShoutConfig()]).cost(Params(n=3, max_tokens=100))
    assert (cost.calls, cost.completion_tokens) == (1 + 1 + 3, 300 + 256 + 21)


def test_a_lock_keeps_its_steps_between_the_clients() -> None:
    lock = Pipeline.of([ValuePromptConfig(pack="private")])
    wish = Pipeline.of([ValuePromptConfig(pack="unbiased"), ShoutConfig()])
    assert [getattr(step, "pack", step.kind) for step in combined(lock, wish).steps] == [
        "unbiased",
        "private",
        "plain",
        "shout",
    ]
