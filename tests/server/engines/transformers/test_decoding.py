"""Greedy decoding equals `model.generate`, alone and in company, with full and with sliding attention."""

import asyncio

import pytest

from tests.server.engines.transformers.running import call, collect, generated, one
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.strategies.core.engine import Params

PROMPTS = [list(range(start, start + length)) for start, length in ((5, 1), (40, 7), (90, 40), (20, 23), (60, 90), (10, 3))]
GREEDY = Params(max_tokens=40, temperature=0.0)


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
async def test_alone_it_is_generate_bit_for_bit(engine: TransformersEngine, model: LoadedModel, prompt: list[int]) -> None:
    assert (await one(engine, prompt, GREEDY)).ids == generated(model, prompt, 40)


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
async def test_sliding_windows(gemma: TransformersEngine, gemma_model: LoadedModel, prompt: list[int]) -> None:
    assert (await one(gemma, prompt, GREEDY)).ids == generated(gemma_model, prompt, 40)


async def test_company_changes_nothing(engine: TransformersEngine, model: LoadedModel) -> None:
    """Six requests over four places: rows wait, join beside longer and shorter ones, and leave."""
    params = [Params(max_tokens=20 + 9 * place, temperature=0.0) for place in range(len(PROMPTS))]
    together = await asyncio.gather(
        *(one(engine, p, how, call(salt="company")) for p, how in zip(PROMPTS, params, strict=True))
    )
    for prompt, how, sample in zip(PROMPTS, params, together, strict=True):
        assert how.max_tokens
        assert sample.ids == generated(model, prompt, how.max_tokens)


async def test_company_with_sliding_windows(gemma: TransformersEngine, gemma_model: LoadedModel) -> None:
    together = await asyncio.gather(*(one(gemma, prompt, GREEDY, call(salt="company")) for prompt in PROMPTS))
    assert [sample.ids for sample in together] == [generated(gemma_model, prompt, 40) for prompt in PROMPTS]


async def test_a_request_joins_one_that_runs(engine: TransformersEngine, model: LoadedModel) -> None:
    """The second, longer than what the first has so far, starts after the first's fifth token; both answers are their own."""
    long_params = Params(max_tokens=120, temperature=0.0, ignore_eos=True)
    first: list[int] = []
    second: asyncio.Task[list[int]] | None = None
    async for delta in engine.generate(PROMPTS[1], long_params, call(salt="join")):
        first += delta.token_ids
        if len(first) == 5:
            second = asyncio.ensure_future(ids_of(engine, PROMPTS[4]))
    assert second is not None
    assert second.done(), "the second waited for the end of the first"
    assert await second == generated(model, PROMPTS[4], 40)
    assert first == generated(model, PROMPTS[1], 120, eos_token_id=None)


async def ids_of(engine: TransformersEngine, prompt: list[int]) -> list[int]:
    return (await one(engine, prompt, GREEDY, call(salt="join"))).ids


async def test_long_answers_outgrow_the_first_buffers(engine: TransformersEngine, model: LoadedModel) -> None:
    params = Params(max_tokens=400, temperature=0.0, ignore_eos=True)
    short = [one(engine, prompt, Params(max_tokens=30, temperature=0.0, ignore_eos=True), call()) for prompt in PROMPTS[:3]]
    sample, *_ = await asyncio.gather(one(engine, PROMPTS[3], params), *short)
    assert sample.ids == generated(model, PROMPTS[3], 400, eos_token_id=None)


async def test_n_greedy_samples_are_the_same(engine: TransformersEngine, model: LoadedModel) -> None:
    samples = await collect(engine, PROMPTS[2], Params(n=6, max_tokens=12, temperature=0.0))
    assert {tuple(sample.ids) for sample in samples} == {tuple(generated(model, PROMPTS[2], 12))}


async def test_deltas_come_as_steps_are_made(engine: TransformersEngine) -> None:
    deltas = [d async for d in engine.generate(PROMPTS[0], Params(max_tokens=9, temperature=0.0, ignore_eos=True), call())]
    assert [len(delta.token_ids) for delta in deltas] == [1] * 9
    assert [delta.finish_reason for delta in deltas] == [None] * 8 + ["length"]
