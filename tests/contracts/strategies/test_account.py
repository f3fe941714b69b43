"""What an answer tells of itself: status, usage, worst case, stream and whole alike."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.contracts.strategies.asking import World, answered, settled
from tests.contracts.strategies.cases import KINDS, MODEL, QUESTION, every, every_form, fitted
from trimtab.server.wire import params_of
from trimtab.strategies.config import parse_spec
from trimtab.strategies.core.messages import Usage
from trimtab.strategies.pipeline import Pipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGEST_TRACE = 256 * 1024
"""Bytes of a full trace of a short question."""


@every
async def test_the_bare_name_answers_and_gives_account(world: World, kind: str) -> None:
    reply = answered(await world.client.ask(kind))
    told = reply.alignment
    assert reply.texts[0]
    assert told["strategy"] == [kind]
    assert reply.headers["x-alignment-status"] == told["status"]
    assert reply.headers["x-alignment-strategy"] == kind
    assert kind in [step["strategy"] for step in told["steps"]]
    assert {step["role"] for step in told["steps"]} >= {"decoder", KINDS[kind].role}
    if kind != "plain":
        assert told["changed"] or told["status"] != "applied" or KINDS[kind].role == "reviser"


@every_form
async def test_usage_counts_every_call_of_every_engine(world: World, kind: str) -> None:
    reply = answered(await world.ask(kind))
    told = reply.alignment["usage"]
    assert told["calls"] == len(world.asked) == int(reply.headers["x-alignment-calls"])
    assert sum(role["calls"] for role in told["by_role"].values()) == told["calls"]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert reply.body["usage"][count] == sum(role[count] for role in told["by_role"].values())
        assert reply.body["usage"][count] >= told["final"][count]
    assert told["discarded_tokens"] == reply.body["usage"]["completion_tokens"] - told["final"]["completion_tokens"]
    policy = sum((usage_in(told["by_role"][role]) for role in told["by_role"] if role != "aligner"), Usage())
    assert (policy, usage_in(told["by_role"].get("aligner", {}))) == (world.policy.used, world.aligner.used)
    assert (kind == "aligner") == bool(world.aligner.asked)


def usage_in(told: Mapping[str, Any]) -> Usage:
    return Usage(told.get("prompt_tokens", 0), told.get("completion_tokens", 0))


@every_form
async def test_every_call_runs_under_the_request_and_its_keys_salt(world: World, kind: str) -> None:
    answered(await world.ask(kind, n=2))
    assert {asked.call.cache_salt for asked in world.asked} == {"free"}
    assert len({asked.call.request_id for asked in world.asked}) == 1


@every
async def test_usage_mode_final_counts_the_answer_alone(world: World, kind: str) -> None:
    reply = answered(await world.ask(kind, options={"usage_mode": "final"}))
    assert reply.body["usage"] == reply.alignment["usage"]["final"]


@every_form
async def test_the_worst_case_is_an_upper_bound(world: World, kind: str) -> None:
    await world.ask(kind, n=2)
    cost = Pipeline.of(parse_spec(fitted([kind]))).cost(params_of({"n": 2, "max_tokens": 24}))
    assert len(world.asked) <= cost.calls


@every_form
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
async def test_responses_answer_too(world: World, kind: str) -> None:
    body = {"model": MODEL, "input": QUESTION, "max_output_tokens": 24, "alignment": {"strategy": fitted(kind)}}
    headers = {"authorization": "Bearer key-free"}
    whole = (await world.client.http.post("/v1/responses", json=body, headers=headers)).json()
    assert whole["alignment"]["strategy"] == [kind]
    (said,) = [part["text"] for item in whole["output"] if item["type"] == "message" for part in item["content"]]
    assert said
    stream = await world.client.http.post("/v1/responses", json={**body, "stream": True}, headers=headers)
    assert "response.completed" in stream.text or "response.incomplete" in stream.text
    assert '"alignment"' in stream.text


@every
async def test_a_full_trace_is_bounded_json_and_the_levels_are_nested(world: World, kind: str) -> None:
    levels = {
        level: answered(await world.ask(kind, options={"trace": level})).alignment for level in ("none", "summary", "full")
    }
    assert "steps" not in levels["none"]
    for summary, full in zip(levels["summary"]["steps"], levels["full"]["steps"], strict=True):
        assert summary.keys() <= full.keys()
    json.dumps(levels["full"], allow_nan=False)
    assert len(json.dumps(levels["summary"])) < LARGEST_TRACE / 8
    long = [{"role": "user", "content": f"{QUESTION} " * 50}]
    full = answered(await world.ask(kind, messages=long, n=2, max_tokens=40, options={"trace": "full"})).alignment
    assert len(json.dumps(full, allow_nan=False)) < LARGEST_TRACE
