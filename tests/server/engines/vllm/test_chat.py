"""Chats through vLLM's own OpenAI layer."""

import asyncio
import json
import logging

import pytest

from tests.server.engines.vllm.requests import PARIS, body, call, chunks
from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]},
    },
}


async def test_an_answer_is_an_openai_object(engine: VllmEngine) -> None:
    answer = await engine.wire.chat(body(model="shown-name", max_tokens=20), call())
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "shown-name"
    assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_usage_counts_the_ids_the_engine_saw(engine: VllmEngine) -> None:
    assert engine.tokenizer is not None
    answer = await engine.wire.chat(body(return_token_ids=True), call())
    usage = answer["usage"]
    assert answer["prompt_token_ids"] == engine.tokenizer.tokenize_chat({"messages": list(PARIS)})
    assert usage["prompt_tokens"] == len(answer["prompt_token_ids"])
    assert usage["completion_tokens"] == len(answer["choices"][0]["token_ids"])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_repeated_prompt_comes_from_the_cache(engine: VllmEngine) -> None:
    """The prompt has 37 tokens; whole blocks of 32 are reused."""
    await engine.wire.chat(body(), call(cache_salt="one@corp/ä"))
    again = await engine.wire.chat(body(), call(cache_salt="one@corp/ä"))
    other = await engine.wire.chat(body(), call(cache_salt="two"))
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == 32
    assert other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_streamed_and_whole_answers_agree(engine: VllmEngine) -> None:
    whole = await engine.wire.chat(body(), call())
    pieces = await chunks(engine, body(model="shown-name", stream_options={"include_usage": True}))
    *_, finish, usage = pieces
    assert pieces[0]["choices"][0]["delta"]["role"] == "assistant"
    assert (
        "".join(c["delta"].get("content") or "" for p in pieces for c in p["choices"])
        == whole["choices"][0]["message"]["content"]
    )
    assert finish["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert {piece["model"] for piece in pieces} == {"shown-name"}
    assert len({piece["id"] for piece in pieces}) == 1


async def test_no_usage_chunk_unless_asked(engine: VllmEngine) -> None:
    pieces = await chunks(engine, body())
    assert all("usage" not in piece for piece in pieces)


async def test_n_choices(engine: VllmEngine) -> None:
    answer = await engine.wire.chat(body(n=3, temperature=1.0, seed=5, max_tokens=12), call())
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) > 1
    streamed = await chunks(engine, body(n=3, temperature=1.0, max_tokens=4))
    assert {c["index"] for p in streamed for c in p["choices"]} == {0, 1, 2}


async def test_a_seed_is_honoured(engine: VllmEngine) -> None:
    texts = [
        (await engine.wire.chat(body(temperature=1.0, seed=seed, max_tokens=16), call()))["choices"][0]["message"]["content"]
        for seed in (11, 11, 12)
    ]
    assert texts[0] == texts[1] != texts[2]


async def test_a_burst_of_seeded_requests(engine: VllmEngine) -> None:
    """On CPU a seeded request whose prompt is prefilled in pieces kills vLLM's worker; ours never is.

    16 prompts of about 270 tokens are more than one batch of 2048.
    """

    async def one(number: int) -> str:
        words = " ".join(f"word{number * 1000 + i}" for i in range(40))
        answer = await engine.wire.chat(body({"role": "user", "content": words}, temperature=1.0, seed=number), call())
        return str(answer["choices"][0]["message"]["content"])

    answers = await asyncio.gather(*(one(number) for number in range(16)))
    assert len(answers) == 16
    assert engine.health().state == "ready"
    assert engine.metrics()["restarts"] == 0


async def test_stop_strings_are_cut_off(engine: VllmEngine) -> None:
    answer = await engine.wire.chat(body(stop=["Paris"], max_tokens=20), call())
    assert answer["choices"][0]["message"]["content"] == "The capital of France is "
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_logprobs(engine: VllmEngine) -> None:
    answer = await engine.wire.chat(body(logprobs=True, top_logprobs=3), call())
    entries = answer["choices"][0]["logprobs"]["content"]
    assert len(entries) == answer["usage"]["completion_tokens"]
    assert all(len(entry["top_logprobs"]) == 3 for entry in entries)
    assert all(entry["logprob"] == entry["top_logprobs"][0]["logprob"] for entry in entries)


async def test_json_schema(engine: VllmEngine) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 10}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    answer = await engine.wire.chat(body(response_format=wanted, max_tokens=60), call())
    assert set(json.loads(answer["choices"][0]["message"]["content"])) == {"city"}


async def test_json_object(engine: VllmEngine) -> None:
    answer = await engine.wire.chat(body(response_format={"type": "json_object"}, max_tokens=8), call())
    assert answer["choices"][0]["message"]["content"].lstrip().startswith("{")


async def test_a_named_tool_is_called(engine: VllmEngine) -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    answer = await engine.wire.chat(body(tools=[WEATHER], tool_choice=choice, max_tokens=60), call())
    (made,) = answer["choices"][0]["message"]["tool_calls"]
    assert made["function"]["name"] == "weather"
    assert set(json.loads(made["function"]["arguments"])) == {"city"}


async def test_a_prefill_is_continued(engine: VllmEngine) -> None:
    request = body(*PARIS, {"role": "assistant", "content": "It is the city of"}, add_generation_prompt=False)
    answer = await engine.wire.chat({**request, "continue_final_message": True}, call())
    assert "Paris" in answer["choices"][0]["message"]["content"]


async def test_two_calls_of_one_request_do_not_meet(engine: VllmEngine) -> None:
    """Closing one stream leaves the other one alone although both run under the same id."""
    shared = call()
    first = engine.wire.chat_stream(body(max_tokens=200, ignore_eos=True), shared)
    await anext(first)
    other = asyncio.create_task(chunks(engine, body(max_tokens=24, ignore_eos=True), shared))
    await asyncio.sleep(0)
    await first.aclose()
    pieces = await other
    assert pieces[-1]["choices"][0]["finish_reason"] == "length"


async def test_a_closed_stream_frees_the_engine(engine: VllmEngine) -> None:
    stream = engine.wire.chat_stream(body(max_tokens=1500, ignore_eos=True), call())
    await anext(stream)
    await stream.aclose()
    await engine.wire.chat(body(max_tokens=1), call())
    assert engine.metrics()["running"] == 0


async def test_a_cancelled_request_frees_the_engine(engine: VllmEngine) -> None:
    task = asyncio.create_task(engine.wire.chat(body(max_tokens=1500, ignore_eos=True), call()))
    await chunks(engine, body(max_tokens=2))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.wire.chat(body(max_tokens=1), call())
    assert engine.metrics()["running"] == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_p": 3.0}, "top_p"),
        ({"temperature": -1.0}, "temperature"),
        ({"logprobs": True, "top_logprobs": 129}, "logprobs"),
        ({"kv_transfer_params": {"prompt_token_ids": [1, 2]}}, "kv_transfer_params"),
        ({"chat_template": "{{ messages }}"}, "chat_template"),
        ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs"),
        ({"seed": "seven"}, "seed"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(engine: VllmEngine, fields: dict[str, object], param: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        await engine.wire.chat(body(**fields), call())
    assert refusal.value.param == param


async def test_nothing_is_fetched_for_a_client(engine: VllmEngine) -> None:
    image = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}
    with pytest.raises(RequestRefused, match="fetches nothing"):
        await engine.wire.chat(body({"role": "user", "content": [image]}), call())


@pytest.mark.parametrize(("words", "longest"), [(4000, 8), (5, 5000)])
async def test_too_long_is_said_so(engine: VllmEngine, words: int, longest: int) -> None:
    with pytest.raises(ContextLengthExceeded, match="2048"):
        await engine.wire.chat(body({"role": "user", "content": "word " * words}, max_tokens=longest), call())


async def test_a_stream_raises_before_its_first_chunk(engine: VllmEngine) -> None:
    stream = engine.wire.chat_stream(body({"role": "user", "content": "word " * 4000}), call())
    with pytest.raises(ContextLengthExceeded):
        await anext(stream)
    assert engine.health().state == "ready"


async def test_vllm_wakes_no_silenced_logger(engine: VllmEngine) -> None:
    """vLLM configures logging when an engine is made; content loggers must stay silent."""
    assert logging.getLogger("test.silenced").disabled
