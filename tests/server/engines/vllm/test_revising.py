"""What revisers ask of the engine: nothing of a draft is computed again, and a correction can be held to a form."""

import pytest

from tests.server.engines.vllm.requests import call
from tests.strategies.doubles import said
from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import Segment, Text, Usage
from trimtab.strategies.revising.dialogue import ChatDialogue

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]

BLOCK = 32
"""Tokens of a block of keys and values on CPU: only whole ones are reused."""


async def test_a_critique_reuses_the_drafts_keys_and_values(engine: VllmEngine) -> None:
    """The draft's prompt and answer are, id by id, the beginning of the critique's prompt; their whole blocks come cached."""
    messages, tokens = engine.ports.messages, engine.ports.tokens
    assert messages is not None
    assert tokens is not None
    asked = said("Name five rivers of Europe and say in which countries they rise. " * 3)
    draft = [delta async for delta in messages.chat(asked, Params(max_tokens=96, temperature=0.0), call())]
    answer = [token for delta in draft for token in delta.token_ids]
    seen = [*tokens.encode_chat(asked), *answer]

    turns = ["".join(delta.text for delta in draft), "What is wrong with your answer?"]
    critique = ChatDialogue(asked, messages).extended(turns, answers=False)
    assert list(tokens.encode_chat(critique))[: len(seen)] == seen

    usage = Usage()
    async for delta in messages.chat(critique, Params(max_tokens=1, temperature=0.0), call()):
        usage = delta.usage or usage
    assert usage.cached_tokens >= (len(seen) - 1) // BLOCK * BLOCK


async def test_a_raw_prompt_is_held_to_a_structure(engine: VllmEngine) -> None:
    text = engine.ports.text
    assert text is not None
    held = Params(max_tokens=40, temperature=0.0, native={"structured_outputs": {"choice": ["a quiet grey harbour"]}})
    prompt = Text((Segment("content", "The capital of France is"),))
    assert "".join([delta.text async for delta in text.complete(prompt, held, call())]) == "a quiet grey harbour"
    with pytest.raises(RequestRefused, match="structured_outputs"):
        await anext(text.complete(prompt, Params(native={"structured_outputs": {"chice": ["x"]}}), call()))
