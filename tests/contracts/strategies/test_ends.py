"""How work ends before its end: budgets, deadlines, engines that fail or are missing, clients that leave."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.contracts.strategies.asking import Reply, Stream, World, answered
from tests.contracts.strategies.cases import KINDS, PATIENCE_S, STATUSES, every
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_an_aligner_that_never_answers_is_left_at_the_deadline(world: World) -> None:
    plain = answered(await world.ask("plain")).texts
    world.aligner.gate.left = 0
    for on_error in ("degrade", "closed"):
        options = {"budget": {"deadline_ms": 1000}, "on_error": on_error}
        reply = await asyncio.wait_for(world.ask("aligner", options=options), PATIENCE_S)
        assert world.aligner.gate.reached.is_set()
        assert world.is_idle
        if on_error == "degrade":
            assert (reply.texts, reply.alignment["status"]) == (plain, "degraded")
        else:
            assert (reply.status, reply.error["code"]) == (504, "alignment_deadline")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].streaming == "buffered"])
async def test_a_buffered_stream_that_fails_has_said_nothing(world: World, kind: str) -> None:
    """The engines fail once the policy has given its answers: what is to be judged or revised is not shown."""
    world.policy.fails_after, world.aligner.fails_after = 1, 0
    stream = await world.stream(kind)
    assert len(world.asked) > 1
    assert stream.failed
    assert not any(stream.texts)


@every
@pytest.mark.parametrize("calls", [0, 1, 2, 3])
async def test_an_engine_that_fails_gives_an_error_or_a_degraded_answer(world: World, kind: str, calls: int) -> None:
    for engine in world.engines:
        engine.fails_after = calls
    reply = await asyncio.wait_for(world.ask(kind), PATIENCE_S)
    failed = any(len(engine.asked) > calls for engine in world.engines)
    assert world.is_idle
    assert "the engine failed" not in json.dumps(reply.body.get("choices", ""))
    if reply.status == 200:
        assert not failed or reply.alignment["status"] == "degraded", reply.alignment
    else:
        assert reply.status == 500
        assert reply.error["code"] == "internal_error"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].model_validate({}).engine_roles()])
async def test_a_role_that_is_missing_or_down(world: World, kind: str) -> None:
    plain = answered(await world.ask("plain")).texts
    world.aligner.fails_after = 0
    assert (await world.ask(kind)).status == 500
    for on_error, status in (("open", "failed"), ("degrade", "degraded")):
        reply = await world.ask(kind, options={"on_error": on_error})
        assert reply.texts == plain
        assert reply.alignment["status"] == status
        assert kind in " ".join(reply.alignment["warnings"])
    world.service.roles = {}
    reply = await world.ask(kind)
    assert reply.status == 400
    assert reply.error["code"] == "missing_role"
    assert kind in reply.error["message"]


@every
@pytest.mark.parametrize("pieces", [0, 5, 40])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_ends_all_work(world: World, kind: str, pieces: int, streamed: bool) -> None:
    for engine in world.engines:
        engine.gate.left = pieces
    ask: Callable[..., Coroutine[Any, Any, Reply | Stream]] = world.stream if streamed else world.ask
    work = asyncio.ensure_future(ask(kind, n=2, max_tokens=60))
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
