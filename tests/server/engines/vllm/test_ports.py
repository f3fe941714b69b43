"""Messages, text and tokens ports over the real engine."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from tests.server.engines.vllm.requests import PARIS, body, call
from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.engine import Params, TokenDelta
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused
from trimtab.strategies.core.messages import Conversation, Delta, Segment, Text

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]

ASKED = Conversation.from_wire(PARIS)
GREEDY = Params(max_tokens=6, temperature=0.0)


async def tokens(engine: VllmEngine, ids: tuple[int, ...], params: Params) -> list[TokenDelta]:
    assert engine.ports.tokens is not None
    async with aclosing(engine.ports.tokens.generate(ids, params, call())) as stream:
        return [delta async for delta in stream]


async def drained(stream: AsyncGenerator[Any, None]) -> None:
    async with aclosing(stream):
        async for _ in stream:
            pass


def ids_of(engine: VllmEngine) -> tuple[int, ...]:
    assert engine.ports.tokens is not None
    return engine.ports.tokens.encode_chat(ASKED)


async def test_messages_and_wire_say_the_same(engine: VllmEngine) -> None:
    assert engine.ports.messages is not None
    whole = await engine.wire.chat(body(max_tokens=6, return_token_ids=True), call())
    async with aclosing(engine.ports.messages.chat(ASKED, Params(max_tokens=6, temperature=0.0, logprobs=1), call())) as stream:
        deltas: list[Delta] = [delta async for delta in stream]
    assert "".join(d.text for d in deltas) == whole["choices"][0]["message"]["content"]
    assert [t for d in deltas for t in d.token_ids] == whole["choices"][0]["token_ids"]
    assert sum(len(d.logprobs) for d in deltas) == 6
    assert deltas[-1].usage is not None
    assert (deltas[-1].usage.prompt_tokens, deltas[-1].usage.completion_tokens) == (whole["usage"]["prompt_tokens"], 6)
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["length"]


async def test_messages_continue_a_prefill(engine: VllmEngine) -> None:
    assert engine.ports.messages is not None
    prompt = Conversation(ASKED.messages, prefill="It is the city of")
    async with aclosing(engine.ports.messages.chat(prompt, GREEDY, call())) as stream:
        text = "".join([delta.text async for delta in stream])
    assert text.startswith(" Paris")


async def test_text_continues_and_counts(engine: VllmEngine) -> None:
    assert engine.ports.text is not None
    prompt = Text((Segment("literal", "The capital of "), Segment("content", "France is")), stops=("\n",))
    async with aclosing(
        engine.ports.text.complete(prompt, Params(max_tokens=20, temperature=0.0, logprobs=2), call())
    ) as stream:
        deltas = [delta async for delta in stream]
    assert "".join(d.text for d in deltas) == " Paris."
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == sum(len(d.token_ids) for d in deltas)
    assert all(len(entry["top_logprobs"]) == 2 for d in deltas for entry in d.logprobs)


async def test_only_the_beginning_of_a_stop_string_is_held_back(engine: VllmEngine) -> None:
    assert engine.ports.text is not None
    prompt = Text((Segment("literal", "The capital of France is"),))

    async def said(*stops: str) -> list[str]:
        assert engine.ports.text is not None
        params = Params(max_tokens=16, temperature=0.0)
        async with aclosing(engine.ports.text.complete(replace(prompt, stops=stops), params, call())) as stream:
            return [delta.text async for delta in stream if delta.index == 0 and delta.usage is None]

    whole = await said()
    assert await said("nobody ever says this") == whole
    middle = "".join(whole)[9:14]
    assert "".join(await said(middle, "nobody ever says this")) == "".join(whole).split(middle)[0]


async def test_what_vllm_refuses_is_refused(engine: VllmEngine) -> None:
    assert engine.ports.text is not None
    prompt = Text((Segment("literal", "The capital of France is"),))
    with pytest.raises(RequestRefused, match="greedy"):
        await anext(engine.ports.text.complete(prompt, Params(max_tokens=4, temperature=0.0, n=2), call()))


async def test_text_refuses_tools(engine: VllmEngine) -> None:
    assert engine.ports.text is not None
    params = Params(native={"tools": [{"type": "function", "function": {"name": "f"}}]})
    with pytest.raises(RequestRefused, match="tools"):
        await anext(engine.ports.text.complete(Text((Segment("literal", "Hi"),)), params, call()))


async def test_greedy_tokens_are_the_most_likely(engine: VllmEngine) -> None:
    deltas = await tokens(engine, ids_of(engine), Params(max_tokens=6, temperature=0.0, logprobs=2))
    for delta in deltas:
        for token, own, top in zip(delta.token_ids, delta.logprobs, delta.top_logprobs, strict=True):
            assert len(top) == 2
            assert own == max(top.values()) == top[token]
    assert deltas[-1].finish_reason == "length"


async def test_chosen_ids_have_logprobs_at_each_position(engine: VllmEngine) -> None:
    deltas = await tokens(engine, ids_of(engine), Params(max_tokens=3, temperature=0.0, logprob_token_ids=(504, 60)))
    assert [set(top) for d in deltas for top in d.top_logprobs] == [{504, 60}] * 3


async def test_n_samples(engine: VllmEngine) -> None:
    deltas = await tokens(engine, ids_of(engine), Params(max_tokens=4, n=4, temperature=1.0, seed=3))
    assert {delta.index for delta in deltas} == {0, 1, 2, 3}
    assert sum(len(delta.token_ids) for delta in deltas) <= 16


async def test_only_allowed_ids_are_sampled(engine: VllmEngine) -> None:
    deltas = await tokens(engine, ids_of(engine), Params(max_tokens=5, allowed_token_ids=(504, 60), ignore_eos=True))
    assert {token for d in deltas for token in d.token_ids} <= {504, 60}


async def test_next_logprobs_agree_with_sampling(engine: VllmEngine) -> None:
    assert engine.ports.tokens is not None
    ids = ids_of(engine)
    (delta,) = await tokens(engine, ids, Params(max_tokens=1, temperature=0.0, logprobs=5))
    top = delta.top_logprobs[0]
    asked = [*top, *top]
    assert await engine.ports.tokens.next_logprobs(ids, asked, call()) == pytest.approx([top[t] for t in asked], abs=1e-5)


async def test_next_logprobs_of_unlikely_ids(engine: VllmEngine) -> None:
    """More ids than are shown at once; their probabilities are never above 1 together."""
    assert engine.ports.tokens is not None
    values = await engine.ports.tokens.next_logprobs(ids_of(engine), range(40), call())
    assert len(values) == 40
    assert 0 < sum(map(math.exp, values)) < 1


async def test_questions_for_candidates_leave_others_their_logprobs(engine: VllmEngine) -> None:
    """In the same step, vLLM's own way of asking would."""
    port = engine.ports.tokens
    assert port is not None
    ids, asked = ids_of(engine), Params(max_tokens=12, temperature=0.0, logprobs=15, ignore_eos=True)
    drawing = asyncio.create_task(tokens(engine, ids, asked))
    judging = [asyncio.create_task(port.next_logprobs((*ids, 504 + i), (504, 60), call())) for i in range(8)]
    positions = [top for delta in await drawing for top in delta.top_logprobs]
    assert all(math.isfinite(value) for values in await asyncio.gather(*judging) for value in values)
    assert [len(top) for top in positions] == [15] * 12
    assert all(math.isfinite(value) for top in positions for value in top.values())


async def test_a_long_prompt_is_refused_by_length(engine: VllmEngine) -> None:
    with pytest.raises(ContextLengthExceeded, match="2048"):
        await tokens(engine, (504,) * 2048, GREEDY)


async def test_closing_frees_the_engine(engine: VllmEngine) -> None:
    assert engine.ports.tokens is not None
    stream = engine.ports.tokens.generate(ids_of(engine), Params(max_tokens=1500, ignore_eos=True), call())
    await anext(stream)
    await stream.aclose()
    await engine.wire.chat(body(max_tokens=1), call())
    assert engine.metrics()["running"] == 0


async def test_eos_and_decoding(engine: VllmEngine) -> None:
    port = engine.ports.tokens
    assert port is not None
    assert port.eos_token_ids == {2}
    assert port.decode([504, 3575, 2]) == "The capital"


async def test_an_id_ends_all_of_its_calls(engine: VllmEngine) -> None:
    from trimtab.strategies.core.errors import EngineUnavailable

    assert engine.ports.tokens is not None
    shared = call()
    streams = [engine.ports.tokens.generate(ids_of(engine), Params(max_tokens=1500, ignore_eos=True), shared) for _ in range(2)]
    chat = engine.wire.chat_stream(body(max_tokens=1500, ignore_eos=True), shared)
    for stream in (*streams, chat):
        await anext(stream)
    await engine.abort(shared.request_id)
    await engine.abort("nobody")
    for stream in (*streams, chat):
        with pytest.raises(EngineUnavailable):
            await drained(stream)


async def test_samples_in_one_delta_are_those_that_stream(engine: VllmEngine) -> None:
    params = Params(max_tokens=5, n=3, temperature=1.0, seed=4, logprobs=15, ignore_eos=True)
    streamed = await tokens(engine, ids_of(engine), params)
    whole = await tokens(engine, ids_of(engine), replace(params, in_one=True))
    assert sorted(delta.index for delta in whole) == [0, 1, 2]
    for delta in whole:
        own = [piece for piece in streamed if piece.index == delta.index]
        assert delta.token_ids == tuple(token for piece in own for token in piece.token_ids)
        assert delta.logprobs == pytest.approx([value for piece in own for value in piece.logprobs], abs=0.05)
        assert [len(top) for top in delta.top_logprobs] == [15] * 5
        assert delta.finish_reason == "length"
