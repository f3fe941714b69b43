"""Reading a choice: the best of given logits, and ids that are the choices' own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies.doubles import ListEngine, context, said
from trimtab.server.engines.scripted import ScriptedEngine
from trimtab.server.settings import ScriptedConfig
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Call
from trimtab.strategies.core.errors import ConfigError, MissingCapability
from trimtab.strategies.core.messages import Conversation, Segment, Text
from trimtab.strategies.judging.readout import Readout, read_choice


@dataclass
class GivenLogits(ScriptedEngine):
    """The scripted tokenizer (a token a byte) with the log-probabilities a test gives the bytes."""

    logits: dict[int, float]

    def __post_init__(self) -> None:
        super().__init__(ScriptedConfig(), name="m")
        self.prompts: list[tuple[int, ...]] = []

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        self.prompts.append(tuple(prompt_token_ids))
        return tuple(self.logits[candidate] for candidate in candidates)


def over(**logits: float) -> tuple[GivenLogits, RequestContext]:
    engine = GivenLogits({ord(letter): value for letter, value in logits.items()})
    return engine, context(policy=engine.ports)


@given(st.lists(st.floats(-30, 0), min_size=2, max_size=5))
async def test_the_readout_is_the_argmax(logits: list[float]) -> None:
    letters = "ABCDE"[: len(logits)]
    _, ctx = over(**dict(zip(letters, logits, strict=True)))
    readout = await read_choice(said("Which?"), tuple(letters), ctx)
    assert readout.logprobs == tuple(logits)
    assert readout.best == letters[logits.index(max(logits))]


async def test_the_prompt_is_the_conversation_with_its_opening_and_counts_as_one_call() -> None:
    engine, ctx = over(A=-1.0, B=-2.0)
    begun = replace(said("Which?"), prefill="My choice is (")
    assert (await read_choice(begun, ("A", "B"), ctx)).best == "A"
    assert engine.prompts == [engine.encode_chat(begun)]
    assert ctx.step.meter("policy").calls == 1


async def test_a_raw_prompt() -> None:
    engine, ctx = over(A=-3.0, B=-2.0)
    text = Text((Segment("literal", "Which? "),))
    assert (await read_choice(text, ("A", "B"), ctx)).best == "B"
    assert engine.prompts == [engine.encode_text(text)]


async def test_choices_that_cannot_be_told_apart_are_refused() -> None:
    _, ctx = over(A=-1.0)
    with pytest.raises(ConfigError, match="'A' shares its token with another"):
        await read_choice(said("?"), ("A", "A"), ctx)
    with pytest.raises(ConfigError, match="'AB' is not one token"):
        await read_choice(said("?"), ("A", "AB"), ctx)
    with pytest.raises(MissingCapability):
        await read_choice(Conversation(()), ("A",), context(ListEngine([])))


def test_of_equal_choices_the_first() -> None:
    assert Readout(("A", "B"), (-1.0, -1.0)).best == "A"
