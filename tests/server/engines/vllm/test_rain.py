"""RAIN over the real engine: it says something, spends what it says, and leaves nothing running."""

import asyncio
from contextlib import aclosing

import pytest

from tests.server.engines.vllm.requests import PARIS
from tests.strategies.doubles import context
from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Conversation
from trimtab.strategies.decoding.rain import RainConfig

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]

ASKED = Conversation.from_wire(PARIS)


def ctx_of(engine: VllmEngine) -> RequestContext:
    return context(policy=engine.ports, params=Params(max_tokens=9), seed=5)


async def test_an_answer_with_its_account(engine: VllmEngine) -> None:
    ctx = ctx_of(engine)
    config = RainConfig.model_validate({"value": "fixed", "max_iterations": 12})
    async with aclosing(config.build().decode(ASKED, ctx.params, ctx)) as stream:
        deltas = [delta async for delta in stream]
    assert deltas[0].text
    assert deltas[-1].finish_reason in {"stop", "length"}
    told, used = ctx.step.details, ctx.step.meters["policy"].usage
    assert told["moves"] == len(deltas)
    assert told["tokens_forwarded"] < used.prompt_tokens + used.completion_tokens, "prefixes are reused"
    assert all(0 < len(delta.token_ids) <= 10 for delta in deltas)


async def test_closing_it_frees_the_engine(engine: VllmEngine) -> None:
    ctx = ctx_of(engine)
    config = RainConfig.model_validate({"value": "fixed"})
    async with aclosing(config.build().decode(ASKED, Params(max_tokens=200, n=2), ctx)) as stream:
        async for _ in stream:
            break
    for _ in range(200):
        if not engine.metrics()["running"]:
            break
        await asyncio.sleep(0.05)  # the engine tells how many run after its next step
    assert engine.metrics()["running"] == 0
