"""LoRA adapters are served as models of their own names."""

import json

import pytest

from tests.server.engines.vllm.conftest import ADAPTER, MODEL
from tests.server.engines.vllm.requests import body, call, chunks
from trimtab.server.engines.vllm import VllmEngine

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]


async def test_an_adapter_answers_under_its_name(engine: VllmEngine) -> None:
    assert engine.adapters == (ADAPTER,)
    base = await engine.wire.chat(body(model=MODEL), call())
    adapted = await engine.wire.chat(body(model=ADAPTER), call())
    assert (base["model"], adapted["model"]) == (MODEL, ADAPTER)
    assert base["choices"][0]["message"]["content"] != adapted["choices"][0]["message"]["content"]
    assert {json.dumps(piece["model"]) for piece in await chunks(engine, body(model=ADAPTER))} == {f'"{ADAPTER}"'}
