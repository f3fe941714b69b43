"""Parameters: checked, defaulted, and each with its effect on what a real (tiny) model generates."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.server.engines.transformers.conftest import started
from tests.server.engines.transformers.running import call, collect, generated, one, reference_logprobs
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.server.engines.transformers.sampling import ModelLimits, SamplingDefaults, resolve
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused

PROMPT = list(range(30, 60))
LIMITS = ModelLimits(window=100, vocabulary=50, eos_ids=frozenset({2}), defaults=SamplingDefaults())


@pytest.mark.parametrize(
    ("params", "param"),
    [
        (Params(temperature=-0.1), "temperature"),
        (Params(temperature=float("nan")), "temperature"),
        (Params(top_p=0.0), "top_p"),
        (Params(top_p=1.1), "top_p"),
        (Params(top_k=-2), "top_k"),
        (Params(min_p=2.0), "min_p"),
        (Params(repetition_penalty=0.0), "repetition_penalty"),
        (Params(presence_penalty=2.5), "presence_penalty"),
        (Params(frequency_penalty=-2.5), "frequency_penalty"),
        (Params(n=0), "n"),
        (Params(max_tokens=-1), "max_tokens"),
        (Params(min_tokens=-1), "min_tokens"),
        (Params(stop_token_ids=(50,)), "stop_token_ids"),
        (Params(logprob_token_ids=(-1,)), "logprob_token_ids"),
        (Params(allowed_token_ids=(1, 99)), "allowed_token_ids"),
        (Params(logit_bias={50: 1.0}), "logit_bias"),
        (Params(logit_bias={1: 101.0}), "logit_bias"),
    ],
)
def test_bad_values_are_refused_by_name(params: Params, param: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        resolve(params, 10, LIMITS)
    assert refusal.value.param == param
    assert param in str(refusal.value)


def test_overflow_names_the_numbers() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"100 tokens.*window is 100"):
        resolve(Params(), 100, LIMITS)
    with pytest.raises(ContextLengthExceeded, match=r"60 tokens.*max_tokens is 41.*101.*window is 100"):
        resolve(Params(max_tokens=41), 60, LIMITS)
    assert resolve(Params(max_tokens=40), 60, LIMITS).max_tokens == 40
    assert resolve(Params(), 60, LIMITS).max_tokens == 40


def test_defaults_are_those_the_file_names() -> None:
    written = {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "max_new_tokens": 7, "do_sample": True}
    limits = ModelLimits(100, 50, frozenset({2}), SamplingDefaults.from_generation_config(written))
    sampling = resolve(Params(), 10, limits)
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens) == (0.6, 0.9, 20, 7)
    asked = resolve(Params(temperature=1.5, top_p=1.0, top_k=0, max_tokens=30), 10, limits)
    assert (asked.temperature, asked.top_p, asked.top_k, asked.max_tokens) == (1.5, 1.0, 0, 30)
    assert resolve(Params(), 10, LIMITS).temperature == 1.0


def test_a_models_generation_config_rules_plain_requests(llama_path: Path, tmp_path: Path, model: LoadedModel) -> None:
    copy = shutil.copytree(llama_path, tmp_path / "model")
    (copy / "generation_config.json").write_text(json.dumps({"top_k": 1, "max_new_tokens": 6, "eos_token_id": [2, 77]}))
    engine = started(copy)

    async def run() -> list[int]:
        try:
            return (await one(engine, PROMPT, Params(ignore_eos=True))).ids
        finally:
            await engine.close()

    assert engine.eos_token_ids == {2, 77}
    assert asyncio.run(run()) == generated(model, PROMPT, 6, eos_token_id=None)


async def test_a_seed_fixes_the_answer_and_samples_count_from_it(engine: TransformersEngine) -> None:
    params = Params(n=3, seed=5, max_tokens=12, temperature=1.0)
    samples = [sample.ids for sample in await collect(engine, PROMPT, params)]
    again = [sample.ids for sample in await collect(engine, PROMPT, params)]
    singles = [(await one(engine, PROMPT, Params(seed=5 + i, max_tokens=12, temperature=1.0))).ids for i in range(3)]
    assert samples == again == singles
    assert len({tuple(ids) for ids in samples}) == 3
    unseeded = [tuple((await one(engine, PROMPT, Params(max_tokens=12, temperature=1.0))).ids) for _ in range(2)]
    assert unseeded[0] != unseeded[1]


async def test_huge_and_negative_seeds(engine: TransformersEngine) -> None:
    for seed in (2**70, -1):
        params = Params(seed=seed, max_tokens=5)
        assert (await one(engine, PROMPT, params)).ids == (await one(engine, PROMPT, params)).ids


@pytest.mark.parametrize("cut", [Params(top_k=1), Params(top_p=1e-6), Params(min_p=1.0), Params(temperature=0.0)], ids=str)
async def test_the_tightest_cuts_are_greedy(engine: TransformersEngine, model: LoadedModel, cut: Params) -> None:
    sample = await one(engine, PROMPT, replace(cut, max_tokens=15, ignore_eos=True))
    assert sample.ids == generated(model, PROMPT, 15, eos_token_id=None)


async def test_first_tokens_follow_the_models_distribution(engine: TransformersEngine, model: LoadedModel) -> None:
    """1,024 draws of the first token at temperature 0.5: each likely id within five standard deviations of its share."""
    expected = (reference_logprobs(model, PROMPT)[-1] / 0.5).softmax(-1)
    draws = [
        sample.ids[0]
        for seed in range(8)
        for sample in await collect(engine, PROMPT, Params(n=128, seed=1000 * seed, temperature=0.5, max_tokens=1))
    ]
    for token in expected.topk(5).indices.tolist():
        share, count = float(expected[token]), len(draws)
        assert abs(draws.count(token) / count - share) < 5 * (share * (1 - share) / count) ** 0.5 + 1e-9


async def test_repetition_penalty_is_the_librarys(engine: TransformersEngine, model: LoadedModel) -> None:
    sample = await one(engine, PROMPT, Params(temperature=0.0, max_tokens=30, repetition_penalty=1.7, ignore_eos=True))
    assert sample.ids == generated(model, PROMPT, 30, repetition_penalty=1.7, eos_token_id=None)


async def test_presence_and_frequency_penalties(engine: TransformersEngine, model: LoadedModel) -> None:
    """Step by step: logits minus presence once and frequency per earlier output token; the prompt does not count."""
    params = Params(temperature=0.0, max_tokens=20, presence_penalty=1.5, frequency_penalty=0.7, ignore_eos=True)
    ids = list(PROMPT)
    for _ in range(20):
        logits = model.network(torch.tensor([ids])).logits[0, -1].detach().clone()
        for token in set(ids[len(PROMPT) :]):
            logits[token] -= 1.5 + 0.7 * ids[len(PROMPT) :].count(token)
        ids.append(int(logits.argmax()))
    assert (await one(engine, PROMPT, params)).ids == ids[len(PROMPT) :]


async def test_logit_bias_and_allowed_ids(engine: TransformersEngine) -> None:
    forced = await one(engine, PROMPT, Params(temperature=1.0, max_tokens=4, logit_bias={77: 100.0}, ignore_eos=True))
    assert forced.ids == [77] * 4
    allowed = await one(engine, PROMPT, Params(temperature=2.0, max_tokens=30, allowed_token_ids=(10, 11), seed=1))
    assert set(allowed.ids) == {10, 11}


async def test_min_tokens_and_end_ids(engine: TransformersEngine) -> None:
    pull = {2: 100.0}
    ended = await one(engine, PROMPT, Params(temperature=0.0, logit_bias=pull))
    assert (ended.ids, ended.text, ended.finish) == ([2], "", "stop")
    held = await one(engine, PROMPT, Params(temperature=0.0, logit_bias=pull, min_tokens=5))
    assert (len(held.ids), held.ids[-1], held.finish) == (6, 2, "stop")
    assert 2 not in held.ids[:-1]
    ignored = await one(engine, PROMPT, Params(temperature=0.0, logit_bias=pull, ignore_eos=True, max_tokens=3))
    assert (ignored.ids, ignored.finish) == ([2, 2, 2], "length")
    own = await one(engine, PROMPT, Params(temperature=0.0, logit_bias={50: 100.0}, stop_token_ids=(50,)))
    assert (own.ids, own.finish) == ([50], "stop")


async def test_no_tokens_asked_none_given(engine: TransformersEngine) -> None:
    samples = await collect(engine, PROMPT, Params(max_tokens=0, n=2))
    assert [(sample.ids, sample.finish) for sample in samples] == [([], "length")] * 2


async def test_without_a_limit_the_window_is_filled(engine: TransformersEngine) -> None:
    long_prompt = [9] * 500
    sample = await one(engine, long_prompt, Params(temperature=0.0, ignore_eos=True), call())
    assert (len(sample.ids), sample.finish) == (12, "length")


async def test_foreign_ids_are_refused(engine: TransformersEngine) -> None:
    for ids in ([5, 100_000], [-1]):
        with pytest.raises(RequestRefused, match=str(ids[-1])):
            await one(engine, ids, Params(max_tokens=1))
    with pytest.raises(RequestRefused, match="0 tokens"):
        await one(engine, [], Params(max_tokens=1))
