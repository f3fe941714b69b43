"""Loss on references: per token, in nats; the corpus perplexity weighs every token alike."""

import math

import pytest

from tests.server.evaluation.scorers.asked import OTHER, PLAIN, QUESTION, SEARCH, GivenLikelihoods, item_of
from trimtab.server.evaluation.records import Alignment
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import Item
from trimtab.server.evaluation.scorers.perplexity import Perplexity

LIKELY = {"honey": (-2.0, 4), "beeswax and honey": (-9.0, 6), "raw": (-1.0, 1), "": (0.0, 0), "odd": (-math.inf, 2)}


def item(*, good: tuple[str, ...] = (), chosen: str | None = None, prompt: bool = True, alignment: Alignment = PLAIN) -> Item:
    return item_of(sample=Sample("s", QUESTION if prompt else (), good=good, chosen=chosen), alignment=alignment)


async def test_the_first_good_reference_or_else_the_chosen_answer() -> None:
    items = [item(good=("honey", "beeswax and honey")), item(chosen="beeswax and honey", alignment=OTHER)]
    likelihoods = GivenLikelihoods(LIKELY)
    scorer = Perplexity(likelihoods)
    verdicts = await scorer.score(items)
    assert [verdict.value for verdict in verdicts] == [0.5, 1.5]
    assert sorted(likelihoods.asked) == [("plain", ("honey",)), ("value_prompt", ("beeswax and honey",))]
    # 11 nats over 10 tokens, not the mean of the two values
    assert scorer.summary(items, verdicts) == pytest.approx({"perplexity": math.exp(1.1), "tokens": 10.0})


async def test_raw_text_is_scored_without_a_prompt_and_only_plainly() -> None:
    likelihoods = GivenLikelihoods(LIKELY)
    items = [item(good=("raw",), prompt=False), item(good=("raw",), prompt=False, alignment=OTHER)]
    plain, other = await Perplexity(likelihoods).score(items)
    assert plain.value == 1.0
    assert likelihoods.asked == [("", ("raw",))]
    assert other.value is None
    assert "value_prompt" in str(other.unscored)


async def test_what_has_no_number_is_unscored() -> None:
    items = [item(), item(good=("",)), item(good=("odd",)), item(good=("honey",), alignment=SEARCH)]
    scorer = Perplexity(GivenLikelihoods(LIKELY))
    verdicts = await scorer.score(items)
    assert [verdict.value for verdict in verdicts] == [None] * 4
    reasons = [str(verdict.unscored) for verdict in verdicts]
    for reason, word in zip(reasons, ("good or chosen", "too short", "inf", "searches"), strict=True):
        assert word in reason
    assert scorer.summary(items, verdicts) == {}
