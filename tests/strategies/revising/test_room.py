"""Room in the window: an answer's length shrinks with what stands before it, and only where it must."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.strategies.doubles import ListEngine, context, said
from tests.strategies.revising.doubles import configured, revised
from trimtab.strategies.core.engine import Capabilities, Params, Ports
from trimtab.strategies.core.messages import Conversation, Segment, Text
from trimtab.strategies.revising.room import fitted


@dataclass
class Words:
    """A tokenizer whose tokens are words."""

    counted: int = 0

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        self.counted += 1
        return tuple(1 for message in conversation.messages for _ in message.text.split())

    def encode_text(self, text: Text) -> tuple[int, ...]:
        return tuple(1 for _ in text.text.split())


def engine(window: int | None, tokens: Any = None) -> Ports:
    return Ports(messages=ListEngine([]), tokens=tokens, capabilities=Capabilities(max_model_len=window))


@pytest.mark.parametrize(
    ("window", "asked", "left"),
    [(1000, 50, 50), (100, 50, 50), (100, 96, 90), (100, 90, 90), (None, 96, 96), (100, None, None), (10, 50, 50)],
)
async def test_no_more_than_what_is_left(window: int | None, asked: int | None, left: int | None) -> None:
    """Ten words: of a window of 100 tokens 90 are left; of one of 10 none, which is the engine's to say."""
    prompt = said(" ".join(["word"] * 10))
    assert (await fitted(Params(max_tokens=asked), prompt, engine(window, Words()))).max_tokens == left


async def test_a_short_prompt_is_not_counted() -> None:
    words = Words()
    await fitted(Params(max_tokens=50), said("word"), engine(1000, words))
    assert words.counted == 0


async def test_without_a_tokenizer_bytes_are_counted() -> None:
    """297 bytes and 16 for the turn count as 105 tokens."""
    raw = Text((Segment("content", "b" * 297),))
    assert (await fitted(Params(max_tokens=100, min_tokens=99), raw, engine(200))) == Params(max_tokens=95, min_tokens=95)


async def test_a_revision_fits_behind_its_critique() -> None:
    model = ListEngine(["critique " * 20, "a better answer"])
    policy = Ports(messages=model, tokens=Words(), capabilities=Capabilities(max_model_len=400))  # type: ignore[arg-type]
    ctx = context(policy=policy, params=Params(max_tokens=300))
    assert await revised(configured(critique_tokens=30), said("why?"), "draft " * 20, ctx) == "a better answer"
    counts = [len(Words().encode_chat(asked)) for asked in model.asked]
    assert [params.max_tokens for params in model.params] == [30, min(300, 400 - counts[1])]
    assert counts[1] > 100
