"""Raw log-probabilities, of answers and of prompts, against one plain forward."""

import asyncio

import pytest

from tests.server.engines.transformers.running import call, one, reference_logprobs
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused

PROMPT = list(range(30, 60))


async def test_answers_are_scored_before_temperature_and_penalties(engine: TransformersEngine, model: LoadedModel) -> None:
    params = Params(
        temperature=3.0, seed=4, max_tokens=10, logprobs=3, logprob_token_ids=(7, 9), presence_penalty=2.0, ignore_eos=True
    )
    sample = await one(engine, PROMPT, params)
    reference = reference_logprobs(model, PROMPT + sample.ids)[len(PROMPT) - 1 : -1]
    for token, value, top, expected in zip(sample.ids, sample.logprobs, sample.top, reference, strict=True):
        assert value == pytest.approx(float(expected[token]), abs=1e-4)
        assert set(top) == {*expected.topk(3).indices.tolist(), 7, 9}
        assert top == {token: pytest.approx(float(expected[token]), abs=1e-4) for token in top}


async def test_zero_logprobs_means_the_tokens_own(engine: TransformersEngine) -> None:
    sample = await one(engine, PROMPT, Params(temperature=0.0, max_tokens=3, logprobs=0))
    assert len(sample.logprobs) == len(sample.ids)
    assert sample.top == [{}] * len(sample.ids)


async def test_none_are_given_where_none_are_asked(engine: TransformersEngine) -> None:
    assert (await one(engine, PROMPT, Params(temperature=0.0, max_tokens=3))).logprobs == []


async def test_candidates(engine: TransformersEngine, model: LoadedModel) -> None:
    prompts = [PROMPT, PROMPT[:3], PROMPT[5:]]
    values = await asyncio.gather(*(engine.next_logprobs(prompt, (5, 200, 5), call()) for prompt in prompts))
    for prompt, value in zip(prompts, values, strict=True):
        expected = reference_logprobs(model, prompt)[-1]
        assert value == pytest.approx([float(expected[5]), float(expected[200]), float(expected[5])], abs=1e-4)


@pytest.mark.parametrize("top", [0, 2])
async def test_prompts_are_scored_together(engine: TransformersEngine, model: LoadedModel, top: int) -> None:
    prompts = [PROMPT, PROMPT[:1], list(range(200, 90, -1)), PROMPT[:9]]
    scored = await asyncio.gather(*(engine.prompt_logprobs(prompt, top, call()) for prompt in prompts))
    for prompt, entries in zip(prompts, scored, strict=True):
        assert entries[0] is None
        assert len(entries) == len(prompt)
        reference = reference_logprobs(model, prompt)
        for position, entry in enumerate(entries[1:]):
            assert entry is not None
            assert entry.token_id == prompt[position + 1]
            assert entry.logprob == pytest.approx(float(reference[position, entry.token_id]), abs=1e-4)
            assert list(entry.top) == reference[position].topk(top).indices.tolist()


async def test_prompts_that_cannot_be_scored(engine: TransformersEngine) -> None:
    with pytest.raises(ContextLengthExceeded, match="600"):
        await engine.prompt_logprobs([5] * 600, 0, call())
    with pytest.raises(RequestRefused):
        await engine.prompt_logprobs([], 0, call())
