"""URIAL on the catalogue's models: how long the heads are, and a base model that answers and stops."""

import asyncio
from pathlib import Path

import pytest

from tests.strategies.doubles import context, said
from trimtab.artifacts import resolve
from trimtab.artifacts.errors import NotCached
from trimtab.server.engines.encoding import ChatEncoder
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.engine import Params, Ports
from trimtab.strategies.pipeline import Pipeline
from trimtab.strategies.prompts.principles import ANSWER_REQUEST, REASONING_OPENER
from trimtab.strategies.shaping.urial import UrialConfig, head_of

pytestmark = pytest.mark.slow

BASE = "gemma3-270m-base"
BLOCK = 32
"""Tokens of a block of vLLM's prefix cache on CPU; only whole blocks are shared between requests."""


def path_of(model: str) -> Path:
    try:
        return resolve(model, offline=True).path
    except NotCached:
        pytest.skip(f"{model} is not in the model cache: run `trimtab models pull {model}`")


def encoder_of(model: str) -> ChatEncoder:
    from transformers import AutoTokenizer

    return ChatEncoder(AutoTokenizer.from_pretrained(path_of(model)))


@pytest.mark.parametrize(
    ("model", "block", "inline", "whole"), [("smollm2-135m-instruct", 460, 453, 893), (BASE, 451, 444, 870)]
)
def test_tokens_of_the_heads(model: str, block: int, inline: int, whole: int) -> None:
    encoder = encoder_of(model)
    heads = [head_of(config) for config in (UrialConfig(), UrialConfig(structure="inline"), UrialConfig(k=8))]
    counts = [len(encoder.encode_text([(head.segment.kind, head.segment.text)])) for head in heads]
    assert counts == [block, inline, whole]
    assert BLOCK * (block // BLOCK) / block >= 0.95


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", BASE])
async def test_the_ids_of_the_head_begin_every_prompt(model: str) -> None:
    encoder = encoder_of(model)
    head = head_of(UrialConfig()).segment
    whole_blocks = encoder.encode_text([(head.kind, head.text)])[: BLOCK * (len(head.text) // (4 * BLOCK) - 1)]
    for asked in ("What is a tide?", "\n\n", "# Query:", "<|im_end|>", "` ``` `"):
        text = await UrialConfig().build().shape(said(asked), context())
        assert not hasattr(text, "messages")
        ids = encoder.encode_text([(segment.kind, segment.text) for segment in text.segments])  # type: ignore[union-attr]
        assert ids[: len(whole_blocks)] == whole_blocks


@pytest.mark.parametrize("thoughts", ["be kind.", "1. We", ": so", ":)", "...", "(a) is"])
def test_reasoning_leaves_the_ids_of_its_own_prompt_as_they_were(thoughts: str) -> None:
    encoder = encoder_of("smollm2-135m-instruct")
    asked = {"role": "user", "content": "May I?"}
    opened = [asked, {"role": "assistant", "content": REASONING_OPENER}]
    closed = [
        asked,
        {"role": "assistant", "content": f"{REASONING_OPENER} {thoughts}"},
        {"role": "user", "content": ANSWER_REQUEST},
    ]
    first = encoder.encode(opened, continue_final_message=True).ids
    assert encoder.encode(closed).ids[: len(first)] == first


async def test_a_base_model_answers_as_an_assistant_and_stops() -> None:
    from trimtab.server.engines.transformers import TransformersEngine

    engine = TransformersEngine(path_of(BASE), TransformersConfig(dtype="float32", max_model_len=2048), name=BASE)
    await engine.start()
    try:
        assert engine.ports.messages is None
        questions = ["What is the capital of France?", "Why do leaves turn yellow in autumn?", "How do I boil an egg?"]
        answers = await asyncio.gather(*(answer(engine.ports, question) for question in questions))
    finally:
        await engine.close()
    assert "Paris" in answers[0][0]
    for text, finish in answers:
        assert finish == "stop"
        assert text
        assert text == text.strip()
        assert "```" not in text
        assert "# Query" not in text


async def answer(ports: Ports, question: str) -> tuple[str, str | None]:
    """The text and finish reason of a greedy answer of at most 200 tokens."""
    ctx = context(policy=ports, params=Params(max_tokens=200))
    pipeline = Pipeline.of([UrialConfig()])
    prompt = await pipeline.shape(said(question), ctx, "closed")
    text, finish = "", None
    async for delta in pipeline.run(prompt, ctx.params, ctx, "closed"):
        text, finish = text + delta.text, delta.finish_reason or finish
    return text, finish
