"""Raw prompts through vLLM's own completion handler."""

import json
from contextlib import aclosing

import pytest

from tests.server.engines.vllm.requests import call
from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.errors import RequestRefused

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]

FRANCE = "The capital of France is"


async def test_an_echoed_prompt_has_its_logprobs(engine: VllmEngine) -> None:
    request = {"model": "m", "prompt": FRANCE, "max_tokens": 2, "temperature": 0, "echo": True, "logprobs": 1}
    answer = await engine.wire.completion(request, call())
    logprobs = answer["choices"][0]["logprobs"]
    assert "".join(logprobs["tokens"]) == answer["choices"][0]["text"]
    assert answer["choices"][0]["text"].startswith(FRANCE + " Paris")
    assert logprobs["token_logprobs"][0] is None
    assert all(value < 0 for value in logprobs["token_logprobs"][1:])
    assert answer["usage"] | {"prompt_tokens_details": None} == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }


async def test_token_ids_are_a_prompt(engine: VllmEngine) -> None:
    assert engine.tokenizer is not None
    ids = engine.tokenizer.tokenize_text(FRANCE)
    answers = [
        await engine.wire.completion({"model": "m", "prompt": prompt, "max_tokens": 4, "temperature": 0}, call())
        for prompt in (FRANCE, ids)
    ]
    assert answers[0]["choices"][0]["text"] == answers[1]["choices"][0]["text"]


async def test_several_prompts_keep_their_order(engine: VllmEngine) -> None:
    prompts = [FRANCE, "The capital of Italy is"]
    answer = await engine.wire.completion({"model": "m", "prompt": prompts, "max_tokens": 2, "temperature": 0}, call())
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert "Paris" in answer["choices"][0]["text"]
    assert "Rome" in answer["choices"][1]["text"]


async def test_a_stream_joins_to_the_whole(engine: VllmEngine) -> None:
    request = {"model": "shown", "prompt": FRANCE, "max_tokens": 6, "temperature": 0}
    whole = await engine.wire.completion(request, call())
    async with aclosing(
        engine.wire.completion_stream({**request, "stream_options": {"include_usage": True}}, call())
    ) as stream:
        pieces = [json.loads(piece) async for piece in stream]
    assert "".join(c["text"] for p in pieces for c in p["choices"]) == whole["choices"][0]["text"]
    assert pieces[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    assert {piece["model"] for piece in pieces} == {"shown"}


async def test_an_empty_prompt_list_of_ids_is_refused(engine: VllmEngine) -> None:
    with pytest.raises(RequestRefused):
        await engine.wire.completion({"model": "m", "prompt": [10**9], "max_tokens": 1}, call())
