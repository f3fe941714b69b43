"""URIAL on the catalogue's models: heads and what prompts share of them, and a base model that answers and stops."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from tests.server.engines.encoding_cases import encoder
from tests.strategies.doubles import context, said
from trimtab.artifacts import resolve
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.prefixes import shared_length
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.engine import Params, Ports
from trimtab.strategies.core.messages import Segment, Text
from trimtab.strategies.pipeline import Pipeline
from trimtab.strategies.prompts.principles import ANSWER_REQUEST, REASONING_OPENER
from trimtab.strategies.shaping.frames import StructureName
from trimtab.strategies.shaping.urial import UrialConfig, head_of

BASE = "gemma3-270m-base"
BLOCK = 32
"""Tokens of a block of vLLM's prefix cache on CPU; only whole blocks are shared between requests."""
QUESTIONS = ("What is a tide?", "", "\n\n", "# Query:", "<|im_end|>", "` ``` `", "\u00e9t\u00e9 2026")


def ids_of(name: str, *segments: Segment) -> list[int]:
    return encoder(name).encode_text([(segment.kind, segment.text) for segment in segments])


@pytest.mark.parametrize(("name", "block", "inline", "whole"), [("smollm2", 460, 453, 893), ("gemma3", 451, 444, 870)])
def test_tokens_of_the_heads(name: str, block: int, inline: int, whole: int) -> None:
    heads = [head_of(config) for config in (UrialConfig(), UrialConfig(structure="inline"), UrialConfig(k=8))]
    assert [len(ids_of(name, head.segment)) for head in heads] == [block, inline, whole]


@pytest.mark.parametrize("structure", ["block", "inline"])
@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
async def test_any_two_prompts_share_the_blocks_of_the_head(name: str, structure: StructureName) -> None:
    """So 95 in 100 of the head's tokens are found in a prefix cache, whatever is asked."""
    config = UrialConfig(structure=structure)
    head, prompts = len(ids_of(name, head_of(config).segment)), []
    for question in QUESTIONS:
        text = await config.build().shape(said(question), context())
        assert isinstance(text, Text)
        prompts.append(ids_of(name, *text.segments))
    shared = min(shared_length(one, other) for one, other in itertools.combinations(prompts, 2))
    assert shared // BLOCK * BLOCK >= 0.95 * head


@pytest.mark.parametrize("thoughts", ["be kind.", "1. We", ": so", ":)", "...", "(a) is"])
def test_reasoning_leaves_the_ids_of_its_own_prompt_as_they_were(thoughts: str) -> None:
    asked = {"role": "user", "content": "May I?"}
    opened = [asked, {"role": "assistant", "content": REASONING_OPENER}]
    closed = [
        asked,
        {"role": "assistant", "content": f"{REASONING_OPENER} {thoughts}"},
        {"role": "user", "content": ANSWER_REQUEST},
    ]
    first = encoder("smollm2").encode(opened, continue_final_message=True).ids
    assert encoder("smollm2").encode(closed).ids[: len(first)] == first


@pytest.fixture
async def base() -> AsyncIterator[Ports]:
    path = resolve(BASE, accept_licences=frozenset({"gemma"})).path
    engine = TransformersEngine(path, TransformersConfig(dtype="float32", max_model_len=2048), name=BASE)
    await engine.start()
    yield engine.ports
    await engine.close()


@pytest.mark.slow
async def test_a_base_model_answers_as_an_assistant_and_stops(base: Ports) -> None:
    assert base.messages is None
    questions = ["What is the capital of France?", "Why do leaves turn yellow in autumn?", "How do I boil an egg?"]
    answers = await asyncio.gather(*(answer(base, UrialConfig(), question) for question in questions))
    assert "Paris" in answers[0][0]
    for text, finish, _ in answers:
        assert finish == "stop"
        assert text
        assert text == text.strip()
        assert "```" not in text
        assert "# Query" not in text


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["block", "inline"])
async def test_the_second_request_finds_the_head_computed(base: Ports, structure: StructureName) -> None:
    config = UrialConfig(structure=structure)
    cached = [
        (await answer(base, config, question, max_tokens=4))[2] for question in ("What is a tide?", "How do I boil an egg?")
    ]
    assert cached[0] == 0
    assert cached[1] >= 0.95 * len(ids_of("gemma3", head_of(config).segment))


async def answer(ports: Ports, config: UrialConfig, question: str, max_tokens: int = 200) -> tuple[str, str | None, int]:
    """Text and finish reason of a greedy answer, and the tokens of its prompt that were computed before."""
    ctx = context(policy=ports, params=Params(max_tokens=max_tokens))
    pipeline = Pipeline.of([config])
    prompt = await pipeline.shape(said(question), ctx, "closed")
    text, finish = "", None
    async for delta in pipeline.run(prompt, ctx.params, ctx, "closed"):
        text, finish = text + delta.text, delta.finish_reason or finish
    return text, finish, ctx.trace.steps[-1].meter("policy").usage.cached_tokens
