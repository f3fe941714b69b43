"""The contract of every strategy, by its bare name, through the real app on the scripted engine.

Parametrized over the catalogue: a new strategy is tested by being listed. The same contract on real engines:
`test_strategies_live.py`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from tests.contracts.strategies_cases import (
    ALIGNING,
    DELIMITERS,
    HOSTILE,
    KINDS,
    QUESTION,
    Always,
    Asked,
    Reply,
    World,
    running,
    settled,
)
from tests.waiting import until
from trimtab.server.engines.scripted.script import GivenAnswers
from trimtab.server.wire import params_of
from trimtab.strategies.config import parse_spec
from trimtab.strategies.core.errors import ConfigError
from trimtab.strategies.core.messages import Conversation, Text
from trimtab.strategies.pipeline import Pipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATUSES = {"applied", "skipped", "degraded"}
LARGEST_TRACE = 256 * 1024
"""Bytes of a full trace of a short question."""
PATIENCE_S = 30.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("state")) as world:
        yield world


@pytest.fixture
def world(app: World) -> World:
    app.reset()
    return app


every = pytest.mark.parametrize("kind", list(KINDS))
every_aligning = pytest.mark.parametrize("kind", ALIGNING)


def answered(reply: Reply) -> Reply:
    """The reply, which must be an answer."""
    assert reply.status == 200, reply.body
    assert reply.alignment["status"] in STATUSES
    return reply


@every
async def test_the_bare_name_answers_and_gives_account(world: World, kind: str) -> None:
    reply = answered(await world.ask(kind))
    told = reply.alignment
    assert reply.texts[0]
    assert told["strategy"] == [kind]
    assert reply.headers["x-alignment-status"] == told["status"]
    assert reply.headers["x-alignment-strategy"] == kind
    assert kind in [step["strategy"] for step in told["steps"]]
    assert {step["role"] for step in told["steps"]} >= {"decoder", KINDS[kind].role}
    if kind != "plain":
        assert told["changed"] or told["status"] != "applied" or KINDS[kind].role == "reviser"


@every
async def test_usage_counts_every_call_of_every_engine(world: World, kind: str) -> None:
    reply = answered(await world.ask(kind))
    told = reply.alignment["usage"]
    assert told["calls"] == len(world.asked) == int(reply.headers["x-alignment-calls"])
    assert sum(role["calls"] for role in told["by_role"].values()) == told["calls"]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert reply.body["usage"][count] == sum(role[count] for role in told["by_role"].values())
        assert reply.body["usage"][count] >= told["final"][count]
    assert told["discarded_tokens"] == reply.body["usage"]["completion_tokens"] - told["final"]["completion_tokens"]
    if kind != "aligner":
        assert not world.aligner.asked


@every
async def test_every_call_runs_under_the_request_and_its_keys_salt(world: World, kind: str) -> None:
    answered(await world.ask(kind, n=2))
    assert {asked.call.cache_salt for asked in world.asked} == {"free"}
    assert len({asked.call.request_id for asked in world.asked}) == 1


@every
async def test_usage_mode_final_counts_the_answer_alone(world: World, kind: str) -> None:
    reply = answered(await world.ask(kind, options={"usage_mode": "final"}))
    assert reply.body["usage"] == reply.alignment["usage"]["final"]


@every
async def test_the_worst_case_is_an_upper_bound(world: World, kind: str) -> None:
    await world.ask(kind, n=2)
    cost = Pipeline.of(parse_spec(kind)).cost(params_of({"n": 2, "max_tokens": 24}))
    assert len(world.asked) <= cost.calls


@every
@pytest.mark.parametrize("n", [1, 2])
async def test_a_stream_says_what_the_whole_answer_says(world: World, kind: str, n: int) -> None:
    whole = answered(await world.ask(kind, n=n))
    stream = await world.stream(kind, n=n, stream_options={"include_usage": True})
    assert stream.texts == whole.texts
    assert sorted(stream.finishes) == list(enumerate(whole.finishes))
    assert stream.done
    assert [place for place, chunk in enumerate(stream.chunks) if "alignment" in chunk] == [len(stream.chunks) - 1]
    assert settled(stream.chunks[-1]["alignment"]) == settled(whole.alignment)
    assert stream.chunks[-1]["usage"] == whole.body["usage"]
    assert len({chunk["id"] for chunk in stream.chunks}) == 1


@every
async def test_without_a_usage_chunk_the_account_rides_on_the_finish(world: World, kind: str) -> None:
    stream = await world.stream(kind)
    assert stream.chunks[-1]["choices"][0]["finish_reason"]
    assert "alignment" in stream.chunks[-1]
    assert not any("alignment" in chunk for chunk in stream.chunks[:-1])
    assert not any(chunk.get("usage") for chunk in stream.chunks)
    assert not any("alignment" in choice["delta"] for choice in stream.choices)


@every
async def test_every_choice_is_given(world: World, kind: str) -> None:
    reply = answered(await world.ask(kind, n=3))
    assert [choice["index"] for choice in reply.body["choices"]] == [0, 1, 2]
    assert all(reply.texts)


@every
async def test_the_same_seed_gives_the_same_answer_and_trace(world: World, kind: str) -> None:
    first, second = [answered(await world.ask(kind, seed=3, n=2, options={"trace": "full"})) for _ in range(2)]
    assert first.texts == second.texts
    assert settled(first.alignment) == settled(second.alignment)


@every
async def test_another_seed_may_answer_otherwise(world: World, kind: str) -> None:
    texts = {answered(await world.ask(kind, seed=seed, temperature=1)).texts[0] for seed in range(6)}
    assert len(texts) > 1


@every
async def test_stop_strings_end_the_answer(world: World, kind: str) -> None:
    world.says(Always("alpha beta gamma delta."))
    reply = answered(await world.ask(kind, stop=["gamma"], max_tokens=60, n=2))
    assert [text.strip() for text in reply.texts] == ["alpha beta"] * 2
    assert reply.finishes == ["stop"] * 2
    stream = await world.stream(kind, stop=["gamma"], max_tokens=60, n=2)
    assert stream.texts == reply.texts


@every
async def test_the_answer_is_no_longer_than_was_asked_for(world: World, kind: str) -> None:
    world.says(Always("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda."))
    reply = answered(await world.ask(kind, max_tokens=13))
    assert len(reply.texts[0].encode()) <= 13
    assert reply.finishes == ["length"]
    assert reply.alignment["status"] in STATUSES


@every
async def test_a_system_message_and_content_parts_are_heard(world: World, kind: str) -> None:
    parts = [{"type": "text", "text": "First part. "}, {"type": "text", "text": "Second part."}]
    messages = [{"role": "system", "content": "Speak like a gardener."}, {"role": "user", "content": parts}]
    answered(await world.ask(kind, messages=messages))
    for words in ("Speak like a gardener.", "First part.", "Second part."):
        assert any(words in shown(world, asked) for asked in world.asked), words


@every
async def test_a_tool_turn_is_answered_or_refused_by_name(world: World, kind: str) -> None:
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [a_call("weather", {"town": "Bonn"})]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It is freezing."},
    ]
    reply = await world.ask(kind, messages=messages)
    if reply.status == 400:
        assert reply.error["param"].startswith("messages")
        assert kind in reply.error["message"]
        return
    assert answered(reply).texts[0]
    assert any("It is freezing." in shown(world, asked) for asked in world.asked)


@every
async def test_a_tool_call_leaves_as_it_came_or_is_refused(world: World, kind: str) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    asked: dict[str, Any] = {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    world.says(GivenAnswers(("alpha beta gamma.",)))
    reply = await world.ask(kind, **asked)
    if reply.status != 200:
        assert reply.status == 400, reply.body
        assert reply.error["param"] in {"tools", "tool_choice"}
        assert kind in reply.error["message"]
        return
    (call,) = reply.body["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": "{}"}
    assert reply.finishes == ["tool_calls"]
    stream = await world.stream(kind, **asked)
    assert [
        choice["delta"]["tool_calls"][0]["function"]["name"] for choice in stream.choices if "tool_calls" in choice["delta"]
    ]


@every
async def test_a_hostile_text_forges_no_turn(world: World, kind: str) -> None:
    world.says(Always("alpha beta gamma."))
    shapes = []
    for text, words in (("one two", "one two"), (HOSTILE, "thirteenth")):
        world.policy.asked.clear()
        world.aligner.asked.clear()
        answered(await world.ask(kind, messages=[{"role": "user", "content": text}], max_tokens=60))
        shapes.append([shape(world, asked) for asked in world.asked])
        assert not any(words in literal(asked) for asked in world.asked)
    assert shapes[0] == shapes[1]


@every
async def test_a_hostile_text_neither_ends_nor_enters_the_answer(world: World, kind: str) -> None:
    world.says(Always("alpha beta gamma."))
    messages = [
        {"role": "user", "content": HOSTILE},
        {"role": "assistant", "content": f"Earlier: {HOSTILE}"},
        {"role": "user", "content": f"{HOSTILE}\n{QUESTION}"},
    ]
    reply = answered(await world.ask(kind, messages=messages, max_tokens=60))
    assert [text.strip() for text in reply.texts] == ["alpha beta gamma."]
    assert reply.finishes == ["stop"]
    assert not [mark for mark in DELIMITERS if mark in reply.texts[0]]
    assert (await world.stream(kind, messages=messages, max_tokens=60)).texts == reply.texts


@every
@pytest.mark.parametrize("budget", [{"max_calls": 1}, {"max_calls": 2}, {"max_tokens": 1}, {"max_tokens": 400}])
@pytest.mark.parametrize("on_error", ["closed", "degrade", "open"])
async def test_a_spent_budget_ends_cleanly(world: World, kind: str, budget: dict[str, int], on_error: str) -> None:
    options = {"budget": budget, "on_error": on_error}
    reply = await asyncio.wait_for(world.ask(kind, options=options), PATIENCE_S)
    assert world.is_idle
    if "max_calls" in budget:
        assert len(world.asked) <= budget["max_calls"]
    if reply.status != 200:
        assert reply.status == 429, reply.body
        assert reply.error["param"] == "alignment.budget"
        return
    told = reply.alignment
    assert told["status"] in STATUSES | ({"failed"} if on_error == "open" else set())
    assert told["usage"]["calls"] == len(world.asked)
    if told["status"] == "degraded":
        assert told["warnings"] or any(step.get("reason") for step in told["steps"])


@every
async def test_a_passed_deadline_ends_cleanly(world: World, kind: str) -> None:
    for engine in world.engines:
        engine.gate.left = 3
    options = {"budget": {"deadline_ms": 300}}
    reply = await asyncio.wait_for(world.ask(kind, options=options), PATIENCE_S)
    assert world.is_idle
    if reply.status == 200:
        assert reply.alignment["status"] == "degraded"
    else:
        assert reply.status == 504
        assert reply.error["code"] == "alignment_deadline"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].streaming == "buffered"])
async def test_a_buffered_stream_that_fails_has_said_nothing(world: World, kind: str) -> None:
    for limit in range(1, 8):
        stream = await world.stream(kind, options={"budget": {"max_calls": limit}})
        if stream.failed:
            assert not any(stream.texts)


@every
@pytest.mark.parametrize("calls", [0, 1, 2, 3])
async def test_an_engine_that_fails_gives_an_error_or_a_degraded_answer(world: World, kind: str, calls: int) -> None:
    for engine in world.engines:
        engine.fails_after = calls
    reply = await asyncio.wait_for(world.ask(kind), PATIENCE_S)
    failed = len(world.asked) > calls
    assert world.is_idle
    assert "the engine failed" not in json.dumps(reply.body.get("choices", ""))
    if reply.status == 200:
        assert not failed or reply.alignment["status"] == "degraded", reply.alignment
    else:
        assert reply.status == 500
        assert reply.error["code"] == "internal_error"


@every
@pytest.mark.parametrize("pieces", [0, 5, 40])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_ends_all_work(world: World, kind: str, pieces: int, streamed: bool) -> None:
    for engine in world.engines:
        engine.gate.left = pieces
    work = asyncio.ensure_future(world.stream(kind, n=2, max_tokens=60) if streamed else world.ask(kind, n=2, max_tokens=60))
    held = [asyncio.ensure_future(engine.gate.reached.wait()) for engine in world.engines]
    await asyncio.wait({work, *held}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
    for waiting in held:
        waiting.cancel()
    if work.done():
        assert work.result().status == 200
        return
    assert not world.is_idle
    work.cancel()
    await until(lambda: world.is_idle)
    asked = len(world.asked)
    await asyncio.sleep(0.05)  # a call that still began would show within it
    assert len(world.asked) == asked


@every
async def test_an_unknown_parameter_is_named(world: World, kind: str) -> None:
    reply = await world.ask([{"kind": kind, "no_such_parameter": 1}])
    assert reply.status == 400
    assert "no_such_parameter" in reply.error["message"]
    assert kind in reply.error["message"]
    assert reply.error["param"].endswith("no_such_parameter")
    assert not world.asked


@every
async def test_the_catalogue_describes_the_defaults(world: World, kind: str) -> None:
    answer = await world.client.http.get(f"/v1/alignment/strategies/{kind}", headers={"authorization": "Bearer key-free"})
    entry = answer.json()
    config = KINDS[kind]()
    dumped = config.model_dump(mode="json")
    jsonschema.Draft202012Validator.check_schema(entry["schema"])
    jsonschema.validate(dumped, entry["schema"])
    assert KINDS[kind].model_validate(dumped) == config
    assert entry["role"] == config.role
    assert entry["summary"]
    undescribed = [name for name, schema in entry["schema"]["properties"].items() if not schema.get("description")]
    assert undescribed in ([], ["kind"])
    assert kind == "plain" or entry["source"]
    bare, spelt = [answered(await world.ask(spec)) for spec in (kind, [dumped])]
    assert bare.texts == spelt.texts
    assert settled(bare.alignment) == settled(spelt.alignment)


@every
async def test_a_full_trace_is_bounded_json_and_the_levels_are_nested(world: World, kind: str) -> None:
    levels = {
        level: answered(await world.ask(kind, options={"trace": level})).alignment for level in ("none", "summary", "full")
    }
    assert "steps" not in levels["none"]
    for summary, full in zip(levels["summary"]["steps"], levels["full"]["steps"], strict=True):
        assert settled(summary).items() <= settled(full).items()
    json.dumps(levels["full"], allow_nan=False)
    assert len(json.dumps(levels["summary"])) < LARGEST_TRACE / 8
    long = [{"role": "user", "content": f"{QUESTION} " * 50}]
    full = answered(await world.ask(kind, messages=long, n=2, max_tokens=40, options={"trace": "full"})).alignment
    assert len(json.dumps(full, allow_nan=False)) < LARGEST_TRACE


@every_aligning
async def test_a_lock_holds(world: World, kind: str) -> None:
    assert answered(await world.ask(None, key=kind)).alignment["strategy"] == [kind]
    for options in ({"strategy": "plain"}, {"on_error": "open"}, {"on_error": "degrade"}):
        reply = await world.ask(None, key=kind, options=options)
        assert reply.status == 403, (options, reply.body)
        assert reply.error["code"] == "strategy_not_allowed"


@every_aligning
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": QUESTION}, {"role": "tool", "tool_call_id": "c", "content": "done"}],
        [{"role": "user", "content": f"```python\nprint(1)\n```\n{QUESTION}"}],
        [{"role": "user", "content": ""}],
    ],
    ids=["tool result", "code", "nothing"],
)
async def test_nothing_a_client_writes_makes_a_lock_skip(world: World, kind: str, messages: list[dict[str, Any]]) -> None:
    reply = await world.ask(None, key=kind, messages=messages)
    if reply.status == 200:
        own = [step for step in reply.alignment["steps"] if step["strategy"] == kind]
        assert [step["status"] for step in own] in (["applied"], ["degraded"]), own
    else:
        assert reply.status == 400


@pytest.mark.parametrize("second", ALIGNING)
@pytest.mark.parametrize("first", ALIGNING)
async def test_every_legal_pair_composes(world: World, first: str, second: str) -> None:
    spec = [first, second]
    reply = await world.ask(spec, options={"trace": "full"})
    refusal = why_not(spec)
    if refusal is not None:
        assert (reply.status, reply.error["message"]) == (400, refusal)
        assert not world.asked
        return
    told = answered(reply).alignment
    assert told["strategy"] == spec
    names = [step["strategy"] for step in told["steps"]]
    assert [name for name in names if name != "plain"] == spec
    assert told["usage"]["calls"] == len(world.asked)
    assert (await world.stream(spec)).texts == reply.texts
    assert world.is_idle


def why_not(spec: list[str]) -> str | None:
    """Why a pipeline is refused when it is built; None where it is not."""
    try:
        Pipeline.of(parse_spec(spec))
    except ConfigError as error:
        return str(error)
    return None


def a_call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def shown(world: World, asked: Asked) -> str:
    """The prompt of a call as text."""
    if isinstance(asked.prompt, Conversation):
        return "\n".join(message.text for message in asked.prompt.messages)
    return asked.prompt.text if isinstance(asked.prompt, Text) else world.policy.decode(asked.prompt)


def literal(asked: Asked) -> str:
    """What of a raw prompt may hold control tokens."""
    if not isinstance(asked.prompt, Text):
        return ""
    return "\n".join(segment.text for segment in asked.prompt.segments if segment.kind == "literal")


def shape(world: World, asked: Asked) -> Any:
    """What of a prompt a user's text must not change: roles, the kinds of its parts, the control tokens."""
    if isinstance(asked.prompt, Conversation):
        return asked.port, [message.role for message in asked.prompt.messages]
    if isinstance(asked.prompt, Text):
        return asked.port, [segment.kind for segment in asked.prompt.segments]
    return asked.port, [token for token in asked.prompt if token >= 256]
