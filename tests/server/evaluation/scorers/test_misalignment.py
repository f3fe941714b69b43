"""The survey's Eq. 1, corrected: by hand, and by what the printed form lacks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.evaluation.scorers.asked import OTHER, PLAIN, QUESTION, SEARCH, GivenLikelihoods, GivenRewards, item_of
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.misalignment import MisalignmentGap, PairUtilities, SignAgreement, agreement, logistic

PAIR = Sample("p", QUESTION, chosen="Beside a banana.", rejected="No idea.")
BOTH = [item_of(sample=PAIR, alignment=alignment) for alignment in (PLAIN, OTHER)]
LIKELY = GivenLikelihoods({"Beside a banana.": (-12.0, 6), "No idea.": (-9.0, 3)})
"""Per token -2 and -3: the chosen answer is likelier by 1 nat; as a whole it is less likely by 3."""


async def test_by_hand_per_token() -> None:
    # p_policy = 1 / (1 + e^-1) = 0.7310586, p_human = 1
    utilities = PairUtilities(LIKELY)
    (gap,), (sign,) = await MisalignmentGap(utilities).score(BOTH[:1]), await SignAgreement(utilities).score(BOTH[:1])
    assert gap.value == pytest.approx(1 - 0.7310586)
    assert gap.details["nats"] == pytest.approx(1.0)
    assert sign.value == 1.0


async def test_by_hand_per_answer_where_length_decides() -> None:
    # -12 + 9 = -3 nats: p_policy = 1 / (1 + e^3) = 0.0474259
    utilities = PairUtilities(LIKELY, unit="answer")
    (gap,), (sign,) = await MisalignmentGap(utilities).score(BOTH[:1]), await SignAgreement(utilities).score(BOTH[:1])
    assert gap.value == pytest.approx(1 - 0.0474259, abs=1e-6)
    assert sign.value == 0.0
    assert SignAgreement(utilities).summary(BOTH[:1], [sign]) == {"shorter": 0.0}


async def test_a_reward_model_takes_the_place_of_the_choice() -> None:
    # the reward model prefers the rejected answer by ln 3: p_human = 1/4, and the policy disagrees with it
    rewards = GivenRewards({"Beside a banana.": 0.0, "No idea.": math.log(3.0)})
    utilities = PairUtilities(LIKELY, rewards)
    (gap,), (sign,) = await MisalignmentGap(utilities).score(BOTH[:1]), await SignAgreement(utilities).score(BOTH[:1])
    assert gap.value == pytest.approx(0.7310586 - 0.25)
    assert sign.value == 0.0
    assert rewards.asked[0] == [*QUESTION, {"role": "assistant", "content": "Beside a banana."}]


async def test_a_pair_is_asked_about_once_by_both_scorers() -> None:
    likelihoods = GivenLikelihoods(LIKELY.table)
    utilities = PairUtilities(likelihoods)
    for scorer in (MisalignmentGap(utilities), SignAgreement(utilities)):
        await scorer.score(BOTH)
    assert sorted(name for name, _ in likelihoods.asked) == ["plain", "value_prompt"]


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_neither_measure_sees_the_order_of_a_pair(human: float, policy: float) -> None:
    """The printed signed difference turns its sign with the order, so that it vanishes on average, for any policy."""
    gap, turned = abs(logistic(human) - logistic(policy)), abs(logistic(-human) - logistic(-policy))
    assert gap == pytest.approx(turned, abs=1e-12)
    assert agreement(human, policy) == agreement(-human, -policy) == agreement(policy, human)
    assert abs(logistic(human) - logistic(human)) == 0.0


@pytest.mark.parametrize(
    ("human", "policy", "value"), [(2, 1, 1), (2, -1, 0), (math.inf, 0, 0.5), (0, 0, 1), (0, 3, 0.5), (math.inf, 1e-9, 1)]
)
def test_agreement(human: float, policy: float, value: float) -> None:
    assert agreement(human, policy) == value


async def test_what_has_no_pair_or_no_likelihood_is_unscored() -> None:
    items = [item_of(), item_of(sample=PAIR, alignment=SEARCH)]
    for scorer in (MisalignmentGap(PairUtilities(LIKELY)), SignAgreement(PairUtilities(LIKELY))):
        none, undefined = await scorer.score(items)
        assert (none.value, undefined.value) == (None, None)
        assert "chosen, rejected" in str(none.unscored)
        assert undefined.unscored == "search searches"


@pytest.mark.parametrize("broken", [(math.nan, 6), (0.0, 0)])
async def test_no_number_is_unscored(broken: tuple[float, int]) -> None:
    likelihoods = GivenLikelihoods({**LIKELY.table, "No idea.": broken})
    for scorer in (MisalignmentGap(PairUtilities(likelihoods)), SignAgreement(PairUtilities(likelihoods))):
        (verdict,) = await scorer.score(BOTH[:1])
        assert verdict.value is None
