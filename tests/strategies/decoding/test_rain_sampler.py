"""What the sampler draws, against brute force over the model's own logits."""

from math import prod

import numpy as np
import pytest

from tests.strategies.decoding.doubles import RuleModel, babble
from trimtab.strategies.core.engine import Call
from trimtab.strategies.decoding.rain_priors import Tokens
from trimtab.strategies.decoding.rain_profile import Profile
from trimtab.strategies.decoding.rain_sampler import Sampler

QUESTION = tuple(1000 + ord(c) for c in "<user>Why?<assistant>")


def sampler_of(temperature: float, burst: int = 1) -> Sampler:
    return Sampler(RuleModel(babble, burst=burst), Call("req"), QUESTION, Profile(temperature=temperature), "7")


def shares(answer: Tokens, k: int, temperature: float) -> dict[int, float]:
    """What may follow an answer, best first: softmax of all logits, cut to the k largest, renormalised."""
    full = np.exp(np.array(babble((*QUESTION, *answer))) / temperature)
    full /= full.sum()
    largest = np.argsort(-full)[:k]
    return {int(token): float(full[token] / full[largest].sum()) for token in largest}


@pytest.mark.parametrize("temperature", [1.0, 2.0])
class TestProbabilities:
    """Acceptance check 8."""

    @pytest.mark.parametrize("burst", [1, 3, 4])
    @pytest.mark.parametrize("answer", [(), (3, 5)])
    async def test_of_a_set_is_the_product_over_its_tokens(self, temperature: float, burst: int, answer: Tokens) -> None:
        drawn = await sampler_of(temperature, burst).sets(answer, 4, wanted=9, number=0)
        assert drawn.greedy is not None
        sets = [drawn.greedy, *drawn.sampled]
        steps = [[shares((*answer, *one.tokens[:size]), 15, temperature) for size in range(4)] for one in sets]
        joint = [
            prod(step[token] for step, token in zip(of, one.tokens, strict=True)) for of, one in zip(steps, sets, strict=True)
        ]
        assert len(sets) == 10
        assert [one.probability for one in sets] == pytest.approx(joint, rel=1e-5)
        assert drawn.greedy.tokens == tuple(next(iter(step)) for step in steps[0])

    async def test_of_a_ranked_token_is_its_share_of_the_twenty(self, temperature: float) -> None:
        """Best first."""
        ranked = await sampler_of(temperature).ranked((3, 5))
        expected = shares((3, 5), 20, temperature)
        assert len(ranked) == 20
        assert [one.tokens for one in ranked] == [(token,) for token in expected]
        assert [one.probability for one in ranked] == pytest.approx(list(expected.values()), rel=1e-5)
