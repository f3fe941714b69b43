"""Scores as values: monotonic, bounded, polarity, one batch, unscored where the score is no number."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tests.strategies.doubles import context, said
from tests.strategies.judging.doubles import LetterJudge, Scorer, honest
from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.engine import Ports
from trimtab.strategies.core.errors import MissingCapability, MissingRole
from trimtab.strategies.judging.config import ValueConfig
from trimtab.strategies.judging.fixed import FixedConfig
from trimtab.strategies.judging.scored import ClassifierConfig, RewardConfig
from trimtab.strategies.judging.value import Judged, ValueFunction

QUESTION = said("What may I eat?")


class Holder(BaseModel):
    value: ValueConfig


async def valued(function: ValueFunction, scorer: Scorer, *answers: str, level: Any = "summary") -> tuple[float | None, ...]:
    ctx = context(policy=Ports(), roles={"reward": scorer.ports})
    ctx.trace.level = level
    found = await function.values([Judged(QUESTION, answer) for answer in answers], ctx)
    if level == "full":
        assert ctx.step.full["scores"] == [scorer.score_of(answer) for answer in answers]
    return found


async def test_a_reward_is_the_probability_of_being_preferred() -> None:
    """2 sigmoid(1.5) - 1 = tanh(0.75) = 0.635149; the centre is 0."""
    scorer = Scorer({"good": 3.5, "middling": 2.0}.__getitem__)
    found = await valued(RewardConfig(centre=2.0).build(), scorer, "good", "middling", level="full")
    assert found == (pytest.approx(0.635149, abs=1e-6), 0.0)
    assert len(scorer.asked) == 1
    assert [message.role for message in scorer.asked[0][0].messages] == ["user", "assistant"]


@given(st.floats(-30, 30), st.floats(0.01, 5), st.floats(-5, 5), st.floats(0.5, 10))
def test_values_rise_with_the_score(score: float, more: float, centre: float, scale: float) -> None:
    config = RewardConfig(centre=centre, scale=scale)
    assert -1.0 <= config.value_of(score) <= config.value_of(score + more) <= 1.0


async def test_a_classifiers_label_may_be_a_bad_one() -> None:
    """Log-odds of 2 for "toxic" are a probability of 0.880797: the value is 1 - 2 * 0.880797 = -0.761594."""
    scorer = Scorer(lambda _: 2.0)
    found = await valued(ClassifierConfig(higher_is="worse", reads="answer").build(), scorer, "Damn.")
    assert found == (pytest.approx(-0.761594, abs=1e-6),)
    assert [message.role for message in scorer.asked[0][0].messages] == ["assistant"]


async def test_a_score_that_is_no_number_is_unscored() -> None:
    assert await valued(RewardConfig().build(), Scorer(lambda _: math.nan), "x") == (None,)


async def test_scores_are_remembered() -> None:
    scorer, function = Scorer(lambda _: 1.0), RewardConfig().build()
    ctx = context(policy=Ports(), roles={"reward": scorer.ports})
    for _ in range(2):
        await function.values([Judged(QUESTION, "a"), Judged(QUESTION, "a")], ctx)
    assert [len(batch) for batch in scorer.asked] == [1]


def test_the_reward_engine_is_checked() -> None:
    judge = LetterJudge(honest("x")).ports
    assert RewardConfig().engine_roles() == ClassifierConfig().engine_roles() == {"reward"}
    with pytest.raises(MissingRole, match="rain with the value 'reward' needs an engine for the role 'reward'"):
        RewardConfig().check({"policy": judge}, by="rain")
    with pytest.raises(MissingCapability, match="scores port of the role 'reward'; its engine has tokens"):
        ClassifierConfig().check({"policy": judge, "reward": judge}, by="rain")


async def test_fixed_asks_nobody() -> None:
    found = await FixedConfig(value=-0.5).build().values([Judged(QUESTION, "a")] * 2, context(policy=Ports()))
    assert found == (-0.5, -0.5)
    assert FixedConfig().cost(8) == Cost()


@pytest.mark.parametrize("kind", ["self_evaluation", "reward", "classifier", "fixed"])
def test_a_bare_name_stands_for_the_defaults(kind: str) -> None:
    assert Holder.model_validate({"value": kind}) == Holder.model_validate({"value": {"kind": kind}})
    assert Holder(value=Holder.model_validate({"value": kind}).value).value.kind == kind


@pytest.mark.parametrize(
    "given_value", ["rewards", {"kind": "fixed", "value": 2}, {"kind": "reward", "scale": 0}, {"kind": "fixed", "wrong": 1}, 3]
)
def test_what_is_no_value_is_refused(given_value: Any) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({"value": given_value})


def test_costs() -> None:
    assert RewardConfig().cost(8) == Cost(1)
    assert Holder.model_validate({"value": "self_evaluation"}).value.cost(4).calls == 8
