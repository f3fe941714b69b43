"""A reward model's numbers: the conversation that was asked, many at once, one answer's failure its own."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.server.evaluation.scorers.asked import QUESTION, GivenRewards, item_of
from trimtab.server.evaluation.scorers.reward import Reward
from trimtab.strategies.core.errors import ContextLengthExceeded, EngineUnavailable


async def test_the_answer_is_scored_behind_the_conversation_that_was_asked() -> None:
    rewards = GivenRewards({"Put it beside a banana.": 1.5, "No.": -0.25})
    verdicts = await Reward(rewards).score([item_of("Put it beside a banana."), item_of("No.")])
    assert [verdict.value for verdict in verdicts] == [1.5, -0.25]
    assert rewards.asked[0] == [*QUESTION, {"role": "assistant", "content": "Put it beside a banana."}]


async def test_what_is_no_number_is_unscored() -> None:
    (verdict,) = await Reward(GivenRewards({"words": math.nan})).score([item_of()])
    assert verdict.value is None
    assert "nan" in str(verdict.unscored)


@dataclass
class Failing:
    """Fails on one text; meanwhile counts what is asked at once."""

    error: Exception
    open: int = 0
    most: int = 0
    done: list[str] = field(default_factory=list)

    async def score(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[float]:
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        text = conversations[0][-1]["content"]
        if text == "bad":
            raise self.error
        self.done.append(text)
        return [1.0]


async def test_an_answer_that_is_too_long_is_unscored_and_the_others_are_not() -> None:
    failing = Failing(ContextLengthExceeded("9000 tokens do not fit 8192"))
    verdicts = await Reward(failing).score([item_of("a"), item_of("bad"), item_of("b")])
    assert [verdict.value for verdict in verdicts] == [1.0, None, 1.0]
    assert verdicts[1].unscored == "9000 tokens do not fit 8192"


async def test_an_engine_that_is_gone_ends_the_scoring() -> None:
    with pytest.raises(EngineUnavailable, match="dead"):
        await Reward(Failing(EngineUnavailable("dead"))).score([item_of("a"), item_of("bad")])


async def test_items_are_asked_at_once_but_not_more_than_allowed() -> None:
    failing = Failing(ValueError())
    await Reward(failing, at_once=3).score([item_of(str(number)) for number in range(10)])
    assert (failing.most, len(failing.done)) == (3, 10)


class Endless:
    """Never answers."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), 0

    async def score(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[float]:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1
        return []


async def test_a_cancel_ends_what_was_asked() -> None:
    endless = Endless()
    scoring = asyncio.create_task(Reward(endless, at_once=2).score([item_of("a"), item_of("b"), item_of("c")]))
    await endless.begun.wait()
    scoring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scoring
    assert endless.ended == 2
