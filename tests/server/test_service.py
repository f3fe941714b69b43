"""The service on the scripted engine: what is chosen, what is answered, what is accounted for."""

import json
import time
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pytest

from tests.server.services import Spy, asking, said, service_of
from tests.strategies.doubles import BrokenShaperConfig
from trimtab.server.errors import ModelNotFound
from trimtab.server.exchange import Principal
from trimtab.server.service import Service
from trimtab.server.settings import Defaults, Limits, PolicyConfig, Settings
from trimtab.strategies import config as strategies_config
from trimtab.strategies.core.config import Cost, RoleName, StrategyConfig, Streaming
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import (
    BudgetExceeded,
    ConfigError,
    DeadlineExceeded,
    EngineFailure,
    MissingCapability,
    RequestRefused,
    StrategyNotAllowed,
)
from trimtab.strategies.core.messages import Delta, Prompt, Segment, Text

MARK = "Answer in the name of the harbour master."
MARKED = {"marked": [{"kind": "value_prompt", "principles": [MARK]}]}


class TestReviserConfig(StrategyConfig):
    """Answers in capitals, after asking the policy once more."""

    __test__: ClassVar[bool] = False
    kind: Literal["shout"] = "shout"
    fails: bool = False
    """Fail instead."""
    role: ClassVar[RoleName] = "reviser"
    streaming: ClassVar[Streaming] = "buffered"

    def cost(self, params: Params) -> Cost:
        return Cost(1, 100)

    def build(self) -> "TestReviserConfig":
        return self

    async def revise(self, prompt: Prompt, draft: str, ctx: RequestContext):  # type: ignore[no-untyped-def]
        if self.fails:
            raise EngineFailure("the reviser broke")
        port = ctx.engine().messages
        assert port is not None
        assert not isinstance(prompt, Text)
        async for _ in port.chat(prompt, Params(max_tokens=5), ctx.call()):
            pass
        yield Delta(0, draft.upper(), "stop")


class RawConfig(StrategyConfig):
    """Renders the conversation as raw text."""

    kind: Literal["raw"] = "raw"
    role: ClassVar[RoleName] = "shaper"

    def build(self) -> "RawConfig":
        return self

    async def shape(self, prompt: Prompt, ctx: RequestContext) -> Prompt:
        assert not isinstance(prompt, Text)
        return Text((Segment("literal", "Q: "), Segment("content", prompt.messages[-1].text)), asked=prompt)


class BrokenConfig(BrokenShaperConfig):
    """Fails under a name of its own."""

    kind: Literal["broken"] = "broken"  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strategies as third parties would add them."""
    known = {**strategies_config.catalogue(), "shout": TestReviserConfig, "raw": RawConfig, "broken": BrokenConfig}
    monkeypatch.setattr(strategies_config, "catalogue", lambda: known)


async def started(service: Service) -> Service:
    await service.start()
    return service


async def streamed(service: Service, inbound: Any) -> list[dict[str, Any]]:
    answer = await service.chat_stream(inbound)
    return [json.loads(event) async for event in answer.events]


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"] if choice["index"] == index
    )


async def test_a_request_that_selects_nothing_passes_through() -> None:
    service = await started(service_of())
    body = (await service.chat(asking())).body
    assert said(body) == "You said: hello there"
    assert "alignment" not in body
    assert all("alignment" not in chunk for chunk in await streamed(service, asking()))


async def test_options_without_a_strategy_still_pass_through() -> None:
    body = (await (await started(service_of())).chat(asking({"trace": "full"}))).body
    assert "alignment" not in body


async def test_explicit_plain_is_answered_with_an_account() -> None:
    answer = await (await started(service_of())).chat(asking("plain"))
    explained = answer.body["alignment"]
    assert (explained["strategy"], explained["status"], explained["changed"]) == (["plain"], "applied", False)
    assert answer.headers["x-alignment-status"] == "applied"


@pytest.mark.parametrize("stream", [False, True])
async def test_value_prompt_reaches_the_engine_and_usage_is_its_count(stream: bool) -> None:
    spy = Spy()
    service = await started(service_of(Settings(pipelines=MARKED), script=spy))
    inbound = asking("marked", stream_options={"include_usage": True}) if stream else asking("marked")
    if stream:
        chunks = await streamed(service, inbound)
        assert text_of(chunks) == "one two three"
        assert chunks[-1]["choices"] == []
        body = chunks[-1]
    else:
        body = (await service.chat(inbound)).body
        assert said(body) == "one two three"
    assert MARK in spy.prompts[0]
    assert body["alignment"]["strategy"] == ["value_prompt"]
    assert body["usage"]["completion_tokens"] == len("one two three") + 1
    assert body["alignment"]["usage"]["final"] == body["usage"]
    assert body["alignment"]["usage"]["discarded_tokens"] == 0


async def test_without_a_usage_chunk_the_account_rides_on_the_finish() -> None:
    chunks = await streamed(await started(service_of()), asking("value_prompt"))
    assert [bool(chunk.get("alignment")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in chunk for chunk in chunks)


async def test_n_choices_stream_with_one_account() -> None:
    chunks = await streamed(await started(service_of(script=Spy(("a b", "c d", "e f")))), asking("value_prompt", n=3))
    assert [text_of(chunks, index) for index in range(3)] == ["a b", "c d", "e f"]
    assert sum("alignment" in chunk for chunk in chunks) == 1
    finishes = [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert finishes == ["stop"] * 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reviser_changes_every_choice_and_all_calls_are_summed(stream: bool) -> None:
    service = await started(service_of(script=Spy(("ab", "cd", "x", "y"))))
    inbound = asking(["value_prompt", "shout"], n=2, stream_options={"include_usage": True})
    if stream:
        chunks = await streamed(service, inbound)
        texts, body = [text_of(chunks, 0), text_of(chunks, 1)], chunks[-1]
    else:
        body = (await service.chat(asking(["value_prompt", "shout"], n=2))).body
        texts = [said(body, 0), said(body, 1)]
    assert texts == ["AB", "CD"]
    assert body["alignment"]["usage"]["calls"] == 3
    assert [step["strategy"] for step in body["alignment"]["steps"]] == ["value_prompt", "plain", "shout"]
    assert body["usage"]["completion_tokens"] == 3 + 3 + 2 + 2
    assert body["alignment"]["changed"] is True


async def test_buffered_pipelines_ask_for_keep_alives() -> None:
    service = await started(service_of())
    assert (await service.chat_stream(asking("shout"))).keep_alive_s == 10.0
    assert (await service.chat_stream(asking("value_prompt"))).keep_alive_s == 0.0


@pytest.mark.parametrize("stream", [False, True])
async def test_closed_raises_the_steps_error_and_open_answers_plainly(stream: bool) -> None:
    service = await started(service_of())
    broken = [{"kind": "shout", "fails": True}]

    async def ask(on_error: str) -> dict[str, Any]:
        inbound = asking({"strategy": broken, "on_error": on_error})
        return (await streamed(service, inbound))[-1] if stream else (await service.chat(inbound)).body

    with pytest.raises(EngineFailure, match="the reviser broke"):
        await ask("closed")
    answered = (await ask("open"))["alignment"]
    assert answered["status"] == "failed"
    assert "not aligned" in answered["warnings"][-1]
    assert (await ask("degrade"))["alignment"]["status"] == "degraded"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_open_answer_lists_the_steps_that_never_ran(stream: bool) -> None:
    service = await started(service_of())
    inbound = asking({"strategy": ["broken", "value_prompt", "shout"], "on_error": "open"})
    body = (await streamed(service, inbound))[-1] if stream else (await service.chat(inbound)).body
    steps = [(step["strategy"], step["status"]) for step in body["alignment"]["steps"]]
    assert steps == [("broken", "failed"), ("value_prompt", "skipped"), ("shout", "skipped"), ("plain", "applied")]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_rewritten_text_has_no_logprobs_and_says_so(stream: bool) -> None:
    service = await started(service_of())
    inbound = asking("shout", logprobs=True)
    if stream:
        chunks = await streamed(service, inbound)
        assert all(choice["logprobs"] is None for chunk in chunks for choice in chunk["choices"])
        body = chunks[-1]
    else:
        body = (await service.chat(inbound)).body
        assert body["choices"][0]["logprobs"] is None
    assert "logprobs are null" in body["alignment"]["warnings"][0]


@pytest.mark.parametrize("strategy", [None, "value_prompt"])
async def test_streamed_logprobs_are_those_of_the_whole_answer(strategy: str | None) -> None:
    service = await started(service_of())
    whole = (await service.chat(asking(strategy, logprobs=True))).body["choices"][0]["logprobs"]["content"]
    chunks = await streamed(service, asking(strategy, logprobs=True))
    pieces = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]]
    assert [entry for piece in pieces for entry in piece["content"]] == whole


async def test_no_chunk_has_a_usage_that_was_not_asked_for() -> None:
    service = await started(service_of())
    for strategy in (None, "value_prompt", "shout"):
        assert all("usage" not in chunk for chunk in await streamed(service, asking(strategy, n=3)))
        chunks = await streamed(service, asking(strategy, n=3, stream_options={"include_usage": True}))
        assert [bool(chunk["usage"]) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_a_deadline_runs_from_the_arrival() -> None:
    service = await started(service_of())
    late = replace(asking({"strategy": "value_prompt", "budget": {"deadline_ms": 1000}}), arrived=time.monotonic() - 2)
    with pytest.raises(DeadlineExceeded):
        await service.chat(late)


async def test_a_raw_prompt_takes_the_text_port_and_refuses_chat_only_fields() -> None:
    spy = Spy()
    service = await started(service_of(script=spy))
    assert said((await service.chat(asking("raw"))).body) == "one two three"
    assert spy.prompts == ["Q: hello there"]
    with pytest.raises(RequestRefused, match="raw") as caught:
        await service.chat(asking("raw", tools=[{"type": "function", "function": {"name": "f"}}]))
    assert caught.value.param == "tools"


@pytest.mark.parametrize("strategy", [None, "value_prompt", "shout", "raw"])
async def test_fields_that_only_native_layers_honour_are_refused_elsewhere(strategy: str | None) -> None:
    service = await started(service_of())
    for fields in ({"bad_words": ["x"]}, {"prompt_logprobs": 3}, {"skip_special_tokens": False}):
        with pytest.raises(RequestRefused) as caught:
            await service.chat(asking(strategy, **fields))
        assert (caught.value.param, caught.value.code) == (next(iter(fields)), "unsupported_parameter")
    assert said((await service.chat(asking(strategy, bad_words=[], skip_special_tokens=True))).body)


async def test_selection_precedence() -> None:
    pipelines = {
        name: [{"kind": "value_prompt", "principles": [name]}] for name in ("body", "header", "alias", "policy", "server")
    }
    spy = Spy()
    service = await started(service_of(Settings(pipelines=pipelines, defaults=Defaults(strategy="server")), script=spy))
    policy = Principal(policy=PolicyConfig(strategy="policy"))
    for inbound, wins in (
        (asking("body", header="header", model="double:alias", principal=policy), "body"),
        (asking(header="header", model="double:alias", principal=policy), "header"),
        (asking(model="double:alias", principal=policy), "alias"),
        (asking(principal=policy), "policy"),
        (asking(), "server"),
    ):
        await service.chat(inbound)
        assert f"1. {wins}" in spy.prompts[-1]
    await service.chat(asking("plain"))
    assert "1." not in spy.prompts[-1]


async def test_nothing_in_a_message_selects_a_strategy() -> None:
    spy = Spy()
    service = await started(service_of(script=spy))
    content = '<alignment>value_prompt</alignment> {"alignment": {"strategy": "value_prompt"}}'
    body = (await service.chat(asking(messages=[{"role": "user", "content": content}]))).body
    assert "alignment" not in body


LOCKED = Principal("app1", policy=PolicyConfig(key="app1", lock="marked"))


async def test_a_lock_always_runs_and_the_client_may_only_add() -> None:
    spy = Spy()
    service = await started(service_of(Settings(pipelines=MARKED), script=spy))
    await service.chat(asking(principal=LOCKED))
    assert MARK in spy.prompts[-1]
    body = (await service.chat(asking([{"kind": "value_prompt", "principles": ["Mine."]}, "shout"], principal=LOCKED))).body
    assert [step["strategy"] for step in body["alignment"]["steps"]] == ["value_prompt", "value_prompt", "plain", "shout"]
    assert spy.prompts[1].index(MARK) < spy.prompts[1].index("Mine.")


@pytest.mark.parametrize("options", [{"strategy": "plain"}, {"on_error": "open"}, {"on_error": "degrade"}])
async def test_a_lock_cannot_be_loosened(options: dict[str, Any]) -> None:
    service = await started(service_of(Settings(pipelines=MARKED)))
    with pytest.raises(StrategyNotAllowed, match="marked"):
        await service.chat(asking(options, principal=LOCKED))


@pytest.mark.parametrize("stream", [False, True])
async def test_no_budget_of_the_client_makes_a_locked_step_fall_out(stream: bool) -> None:
    """One call is enough for the draft and not for its revision; under the server's `degrade` the draft would be given."""
    locked = Principal("app1", policy=PolicyConfig(key="app1", lock="loud"))
    service = await started(service_of(Settings(pipelines={"loud": "shout"}, defaults=Defaults(on_error="degrade"))))
    inbound = asking({"budget": {"max_calls": 1}}, principal=locked)
    with pytest.raises(BudgetExceeded):
        await (streamed(service, inbound) if stream else service.chat(inbound))
    free = await service.chat(asking({"strategy": "loud", "budget": {"max_calls": 1}}))
    assert free.body["alignment"]["status"] == "degraded"


@pytest.mark.parametrize("role", ["tool", "function"])
@pytest.mark.parametrize("strategy", [None, "marked", ["marked", "shout"], [{"kind": "value_prompt"}]])
async def test_no_invented_tool_result_gets_round_a_lock(role: str, strategy: Any) -> None:
    spy = Spy()
    service = await started(service_of(Settings(pipelines=MARKED), script=spy))
    messages = [{"role": "user", "content": "hi"}, {"role": role, "tool_call_id": "c", "name": "f", "content": "done"}]
    await service.chat(asking(strategy, messages=messages, principal=LOCKED))
    assert all(MARK in prompt for prompt in spy.prompts)
    body = (await service.chat(asking("marked", messages=messages))).body
    assert body["alignment"]["status"] == "skipped"


async def test_an_operator_may_let_a_lock_skip_tool_turns() -> None:
    spec = [{"kind": "value_prompt", "tool_turns": "skip"}]
    service = await started(service_of(Settings(pipelines={"marked": spec})))
    messages = [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "c", "content": "done"}]
    assert (await service.chat(asking(messages=messages, principal=LOCKED))).body["alignment"]["status"] == "skipped"


@pytest.mark.parametrize("spec", ["loud", ["loud"], ["marked", "loud"], [{"kind": "value_prompt"}, "loud"], "shout"])
async def test_a_client_that_names_the_locked_pipeline_gets_it_once(spec: Any) -> None:
    pipelines = {**MARKED, "loud": [{"kind": "value_prompt", "pack": "private"}, "shout"]}
    service = await started(service_of(Settings(pipelines=pipelines)))
    locked = Principal("app1", policy=PolicyConfig(key="app1", lock="loud"))
    steps = (await service.chat(asking(spec, principal=locked))).body["alignment"]["steps"]
    shaped = [step for step in steps if step["strategy"] == "value_prompt"]
    assert len(shaped) == (2 if isinstance(spec, list) and len(spec) == 2 else 1)
    assert [step["strategy"] for step in steps].count("shout") == (2 if spec == "shout" else 1)


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (PolicyConfig(lock="nothing"), "would lock nothing"),
        (PolicyConfig(models=("doubl",)), "no model is called 'doubl'; served: double"),
    ],
)
async def test_policies_that_protect_nothing_are_found_at_the_start(policy: PolicyConfig, told: str) -> None:
    service = service_of(Settings(pipelines={"nothing": ["plain"]}, policies=(policy,)))
    with pytest.raises(ConfigError, match=told):
        await service.start()


async def test_raw_completions_are_refused_where_a_pipeline_cannot_run() -> None:
    service = await started(service_of(Settings(pipelines=MARKED, defaults=Defaults(strategy="marked"))))
    raw = asking(prompt="x")
    with pytest.raises(MissingCapability, match="plain"):
        await service.completion(raw)
    with pytest.raises(StrategyNotAllowed, match="locked"):
        await service.completion(asking(prompt=[1, 2], principal=LOCKED))
    assert (await service.completion(asking("plain", prompt="x"))).body["choices"][0]["text"]


OTHER = Principal("app1", policy=PolicyConfig(models=("other",)))


async def test_a_policy_names_the_models_of_a_key() -> None:
    service = await started(service_of())
    with pytest.raises(StrategyNotAllowed, match="double"):
        await service.chat(asking(principal=OTHER))
    with pytest.raises(StrategyNotAllowed, match="double"):
        service.tokenizer(None, OTHER)
    assert service.tokenizer("double", Principal())


async def test_unknown_models_and_aliases() -> None:
    service = await started(service_of(Settings(pipelines=MARKED)))
    with pytest.raises(ModelNotFound, match="did you mean 'double:marked'"):
        await service.chat(asking(model="double:markd"))


async def test_worst_case_cost_is_checked_before_the_engine() -> None:
    spy = Spy()
    service = await started(service_of(Settings(limits=Limits(alignment_calls=2)), script=spy))
    with pytest.raises(ConfigError, match=r"limits\.alignment_calls allows 2") as caught:
        await service.chat(asking("shout", n=2))
    assert caught.value.code == "strategy_too_expensive"
    assert not spy.prompts


async def test_budget_of_tokens_cuts_the_answer_and_says_so() -> None:
    service = await started(service_of(script=Spy(("word " * 50,))))
    body = (await service.chat(asking({"strategy": "value_prompt", "budget": {"max_tokens": 10}}))).body
    assert body["usage"]["completion_tokens"] == 10
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["alignment"]["status"] == "degraded"


async def test_budget_of_tokens_cuts_a_draft_and_says_so() -> None:
    service = await started(service_of(script=Spy(("word " * 50,))))
    body = (await service.chat(asking({"strategy": "raw", "budget": {"max_tokens": 10}}))).body
    assert body["usage"]["completion_tokens"] == 10
    assert body["alignment"]["status"] == "degraded"
    assert "max_tokens" in body["alignment"]["warnings"][0]


async def test_a_deadline_ends_the_request() -> None:
    import asyncio

    from trimtab.server.engines.scripted import ScriptedEngine
    from trimtab.server.settings import ScriptedConfig

    engine = ScriptedEngine(ScriptedConfig(), name="double", pace=asyncio.Event().wait)  # type: ignore[arg-type]
    service = await started(service_of(engine=engine))
    for ask in (service.chat(asking({"strategy": "value_prompt", "budget": {"deadline_ms": 20}})),):
        with pytest.raises(DeadlineExceeded):
            await ask
    assert engine.running == 0


async def test_usage_mode_final_counts_the_last_call_only() -> None:
    spec = {"kind": "value_prompt", "condition": "chain_of_thought"}
    service = await started(service_of(script=Spy(("some long thoughts here", "short"))))
    total = (await service.chat(asking({"strategy": [spec]}))).body
    final = (await service.chat(asking({"strategy": [spec], "usage_mode": "final"}))).body
    assert total["usage"]["completion_tokens"] == len("some long thoughts here") + 1 + len("short") + 1
    assert final["usage"] == final["alignment"]["usage"]["final"]
    assert final["usage"]["completion_tokens"] == len("short") + 1
    assert final["alignment"]["usage"]["discarded_tokens"] == len("some long thoughts here") + 1


async def test_trace_levels() -> None:
    service = await started(service_of())
    summary = (await service.chat(asking("value_prompt"))).body["alignment"]
    full = (await service.chat(asking({"strategy": "value_prompt", "trace": "full"}))).body["alignment"]
    none = (await service.chat(asking({"strategy": "value_prompt", "trace": "none"}))).body["alignment"]
    assert "system" not in summary["steps"][0]
    assert "system" in full["steps"][0]
    assert "steps" not in none
    assert none["status"] == "applied"


async def test_a_tool_turn_is_skipped_with_its_reason() -> None:
    messages = [{"role": "user", "content": "2+2"}, {"role": "tool", "content": "4", "tool_call_id": "1"}]
    body = (await (await started(service_of())).chat(asking("value_prompt", messages=messages))).body
    assert body["alignment"]["status"] == "skipped"
    assert body["alignment"]["steps"][0]["reason"] == "tool turn"
    assert body["alignment"]["changed"] is False


async def test_a_configured_pipeline_that_cannot_run_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="value_promt") as caught:
        await service_of(Settings(pipelines={"x": ["value_promt"]})).start()
    assert caught.value.param == "pipelines.x"
