"""LoRA adapters are served as models of their own names, and lent to roles under them."""

import json
from collections.abc import AsyncGenerator

import pytest

from tests.server.engines.vllm.conftest import ADAPTER, MODEL
from tests.server.engines.vllm.requests import body, call, chunks
from tests.strategies.doubles import said
from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Delta, Segment, Text

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]


async def test_an_adapter_answers_under_its_name(engine: VllmEngine) -> None:
    assert engine.adapters == (ADAPTER,)
    base = await engine.wire.chat(body(model=MODEL), call())
    adapted = await engine.wire.chat(body(model=ADAPTER), call())
    assert (base["model"], adapted["model"]) == (MODEL, ADAPTER)
    assert base["choices"][0]["message"]["content"] != adapted["choices"][0]["message"]["content"]
    assert {json.dumps(piece["model"]) for piece in await chunks(engine, body(model=ADAPTER))} == {f'"{ADAPTER}"'}


PARIS = said("What is the capital of France?")
RAW = Text((Segment("literal", "The capital of France is"),))
FEW = Params(max_tokens=8, temperature=0.0)


async def texts(stream: AsyncGenerator[Delta, None]) -> str:
    return "".join([delta.text async for delta in stream])


async def test_every_port_answers_under_the_adapter(engine: VllmEngine) -> None:
    """Each port's greedy answer differs from the base model's, and the three agree where they are asked the same."""
    base, adapted = engine.ports, engine.ports_under(ADAPTER)
    answers = {}
    for name, ports in (("base", base), ("adapted", adapted)):
        assert ports.messages is not None
        assert ports.text is not None
        assert ports.tokens is not None
        ids = ports.tokens.encode_chat(PARIS)
        generated = [delta async for delta in ports.tokens.generate(ids, FEW, call())]
        answers[name] = (
            await texts(ports.messages.chat(PARIS, FEW, call())),
            await texts(ports.text.complete(RAW, FEW, call())),
            "".join(delta.text for delta in generated),
        )
        assert answers[name][0] == answers[name][2]
    assert all(one != other for one, other in zip(answers["base"], answers["adapted"], strict=True))
    wire = await engine.wire.chat(body(model=ADAPTER), call())
    assert wire["choices"][0]["message"]["content"] == answers["adapted"][0]


async def test_log_probabilities_are_the_adapters(engine: VllmEngine) -> None:
    found = []
    for ports in (engine.ports, engine.ports_under(ADAPTER)):
        assert ports.tokens is not None
        found.append(await ports.tokens.next_logprobs(ports.tokens.encode_text(RAW), (10, 20), call()))
    assert found[0] != found[1]


async def test_an_adapter_is_labelled_as_without_speculation(engine: VllmEngine) -> None:
    assert any("without speculation" in note for note in engine.ports_under(ADAPTER).capabilities.notes)
    assert not any("speculation" in note for note in engine.capabilities.notes)
