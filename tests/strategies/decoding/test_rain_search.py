"""The search builds the same tree however it is run: lazily or eagerly, ahead or not, alone or beside others."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies.decoding.doubles import (
    EOS,
    LetterEncoder,
    RuleModel,
    RuleValue,
    arbitrary,
    babble,
    ending_after,
    level,
    number,
    short,
)
from trimtab.strategies.core.engine import Call
from trimtab.strategies.decoding.rain_profile import OFFICIAL, SERVING, Profile
from trimtab.strategies.decoding.rain_sampler import Sampler
from trimtab.strategies.decoding.rain_search import Move, Search
from trimtab.strategies.decoding.rain_text import Wording
from trimtab.strategies.decoding.rain_tree import Node

QUESTION = tuple(1000 + ord(c) for c in "<user>Why?<assistant>")
SAME_RULES = replace(OFFICIAL["hh"], turn_marks=())
"""The released rules on a model that neither ends nor writes turn marks: `serving` has nothing to do otherwise there."""


def grown(node: Node) -> dict[str, Any]:
    """What is known of a node and of those below it that were visited."""
    return {
        "tokens": node.tokens,
        "prior": node.prior,
        "visits": node.visits,
        "real_visits": node.real_visits,
        "value": node.value,
        "children": [grown(child) for child in node.children.values() if child.real_visits],
    }


async def searched(
    profile: Profile,
    *,
    seed: str = "7",
    ahead: int = 0,
    jitter: int = 0,
    burst: int = 1,
    room: int = 24,
    model: RuleModel | None = None,
    value: RuleValue | None = None,
    encoder: LetterEncoder | None = None,
) -> tuple[Search, list[dict[str, Any]]]:
    """A search run to its end, and the tree behind each of its moves."""
    model = model or RuleModel(jitter=jitter, burst=burst)
    value = value or RuleValue(arbitrary, jitter=jitter)

    async def value_of(text: str) -> float | None:
        from trimtab.strategies.core.messages import Conversation
        from trimtab.strategies.judging.value import Judged

        return (await value.values([Judged(Conversation(()), text)], None))[0]  # type: ignore[arg-type]

    wording = Wording(model.decode, QUESTION, profile, frozenset({EOS}), profile.turn_marks, room, room)
    sampler = Sampler(model, Call("req"), QUESTION, profile, seed)
    search = Search(sampler, wording, value_of, encoder, ahead)
    trees: list[dict[str, Any]] = []

    async def commit(move: Move) -> None:
        trees.append(grown(move.root) | {"move": move.tokens, "finish": move.finish, "iterations": move.iterations})

    await search.run(commit)
    assert model.running == 0
    return search, trees


class TestEqualTrees:
    """Acceptance check 11."""

    @pytest.mark.parametrize(("seed", "marks"), [("1", ()), ("2", ()), ("3", (" c", " d e"))])
    async def test_official_and_serving(self, seed: str, marks: tuple[str, ...]) -> None:
        """Eager and one after the other against lazy, ahead and out of order; where strings end answers too."""
        eager_rules, lazy_rules = (replace(rules, turn_marks=marks) for rules in (SAME_RULES, SERVING))
        eager, expected = await searched(eager_rules, seed=seed, encoder=LetterEncoder())
        lazy, found = await searched(lazy_rules, seed=seed, ahead=4, jitter=3, encoder=LetterEncoder())
        assert found == expected
        assert lazy.answer == eager.answer
        assert replace(lazy.counts, evaluations=0) == replace(eager.counts, evaluations=0)
        # How much is begun in vain depends on when threads come back: never more than what may be begun ahead of each.
        assert eager.counts.evaluations <= lazy.counts.evaluations <= (1 + 4) * eager.counts.evaluations

    @pytest.mark.parametrize("ahead", [0, 1, 16])
    @pytest.mark.parametrize("burst", [1, 4])
    async def test_whatever_is_begun_ahead_and_however_tokens_arrive(self, ahead: int, burst: int) -> None:
        _, expected = await searched(SERVING, encoder=LetterEncoder())
        _, found = await searched(SERVING, ahead=ahead, jitter=5, burst=burst, encoder=LetterEncoder())
        assert found == expected

    async def test_concurrent_and_isolated(self) -> None:
        seeds = ["1", "2", "3", "4"]
        alone = [await searched(SERVING, seed=seed, ahead=4) for seed in seeds]
        model = RuleModel(jitter=4)
        beside = await asyncio.gather(*(searched(SERVING, seed=seed, ahead=4, model=model) for seed in seeds[:1]))
        shared = await asyncio.gather(*(_beside(seed, model) for seed in seeds))
        assert beside[0][1] == alone[0][1]
        assert shared == [trees for _, trees in alone]

    @given(st.integers(0, 10**6), st.integers(0, 6), st.sampled_from([1, 2, 3]), st.booleans())
    @settings(max_examples=5, deadline=None)
    def test_any_model_and_value(self, seed: int, ahead: int, kinds: int, similar: bool) -> None:
        def value() -> RuleValue:
            return RuleValue(lambda text: float(number(text, seed) % kinds - 1), jitter=2)

        async def both() -> None:
            encoder = LetterEncoder() if similar else None
            one = await searched(SAME_RULES, seed=str(seed), value=value(), room=12, encoder=encoder)
            other = await searched(SERVING, seed=str(seed), value=value(), room=12, encoder=encoder, ahead=ahead, jitter=3)
            assert one[1] == other[1]

        asyncio.run(both())


async def _beside(seed: str, model: RuleModel) -> list[dict[str, Any]]:
    """A search on a model that others use at the same time."""
    wording = Wording(model.decode, QUESTION, SERVING, frozenset({EOS}), (), 24, 24)
    value = RuleValue(arbitrary)

    async def value_of(text: str) -> float | None:
        return value.rule(text)

    search = Search(Sampler(model, Call("req"), QUESTION, SERVING, seed), wording, value_of, None, 4)
    trees: list[dict[str, Any]] = []

    async def commit(move: Move) -> None:
        trees.append(grown(move.root) | {"move": move.tokens, "finish": move.finish, "iterations": move.iterations})

    await search.run(commit)
    return trees


class TestIterations:
    async def test_always_good(self) -> None:
        """Acceptance check 1 over the whole search: 8 iterations, then one a move; sets of 1, 2, 4, 10 tokens."""
        good, model = RuleValue(lambda text: 1.0), RuleModel(level)
        search, trees = await searched(SERVING, value=good, model=model, room=57, ahead=4)
        assert [tree["iterations"] for tree in trees] == [8, 1, 1, 1, 1, 1, 1, 1]
        assert [len(tree["move"]) for tree in trees] == [1, 2, 4, 10, 10, 10, 10, 10]
        assert trees[-1]["finish"] == "length"
        assert search.counts.early_stops == 8

    async def test_while_all_is_well_nothing_is_rewound(self) -> None:
        search, _ = await searched(SERVING, value=RuleValue(lambda text: 1.0), model=RuleModel(level), room=70)
        assert search.counts.rewinds == 0

    async def test_the_last_set_fits_the_room(self) -> None:
        search, trees = await searched(SERVING, room=19)
        assert len(search.answer) == 19
        assert [len(tree["move"]) for tree in trees] == [1, 2, 4, 10, 2]

    async def test_lazy_draws_fewer_sets(self) -> None:
        """Leaves that nothing passes through again are never expanded."""
        bad = RuleValue(lambda text: -1.0)
        eager, lazy = RuleModel(), RuleModel()
        await searched(SAME_RULES, model=eager, value=bad)
        await searched(SERVING, model=lazy, value=bad)
        assert lazy.tokens < 0.7 * eager.tokens

    @pytest.mark.parametrize(("value", "most"), [(1.0, 1.0), (0.0, 1.02), (-1.0, 1.2)])
    async def test_what_is_foreseen_rightly_is_not_wasted(self, value: float, most: float) -> None:
        """While values come as the last one did, work begun ahead is the work that is needed; additions are not foreseen."""
        patient, eager = RuleModel(), RuleModel(jitter=3)
        await searched(SERVING, model=patient, value=RuleValue(lambda text: value), ahead=0, room=40)
        await searched(SERVING, model=eager, value=RuleValue(lambda text: value), ahead=16, room=40)
        assert eager.tokens <= most * patient.tokens
        assert patient.most_running <= 3
        assert eager.most_running > 3

    async def test_bad_children_get_company(self) -> None:
        search, _ = await searched(SERVING, value=RuleValue(lambda text: -1.0), room=40)
        assert search.counts.additions > 0

    async def test_the_same_text_is_judged_once(self) -> None:
        value = RuleValue(arbitrary)
        await searched(SERVING, value=value, model=RuleModel(short), ahead=4)
        texts = [judged.answer for judged in value.asked]
        assert len(texts) == len(set(texts))


class TestEnds:
    async def test_serving_ends_at_the_end_token(self) -> None:
        search, trees = await searched(SERVING, model=RuleModel(short), room=200)
        assert search.answer[-1] == EOS
        assert EOS not in search.answer[:-1]
        assert trees[-1]["finish"] == "stop"

    async def test_a_terminal_leaf_never_gains_children(self) -> None:
        """Acceptance check 10: it is valued again, from the memory of its text, and never expanded."""
        search, _ = await searched(SERVING, model=RuleModel(short), room=200)

        def check(node: Node) -> None:
            if node.tokens and node.tokens[-1] == EOS:
                assert not node.children
            for child in node.children.values():
                check(child)

        check(search.tree.root)

    async def test_hh_goes_on_behind_the_end_token(self) -> None:
        model = RuleModel(ending_after(len(QUESTION) + 5))
        search, trees = await searched(replace(OFFICIAL["hh"], turn_marks=()), model=model, room=30)
        assert search.answer.index(EOS) == 5
        assert len(search.answer) == 30
        assert trees[-1]["finish"] == "length"

    async def test_adv_keeps_the_whole_set(self) -> None:
        search, trees = await searched(OFFICIAL["adv"], model=RuleModel(short), room=200)
        assert EOS in search.answer[-10:]
        assert len(trees[-1]["move"]) in {1, 2, 4, 10}
        assert trees[-1]["finish"] == "stop"

    async def test_truth_cuts_behind_the_end_token(self) -> None:
        search, trees = await searched(OFFICIAL["truth"], model=RuleModel(short), room=200)
        assert search.answer.index(EOS) == len(search.answer) - 1
        assert trees[-1]["finish"] == "stop"

    async def test_a_turn_mark_ends_the_answer(self) -> None:
        profile = replace(OFFICIAL["hh"], turn_marks=(" c d", " b", " a"))
        search, trees = await searched(profile, room=200)
        assert trees[-1]["finish"] == "stop"
        assert not any(mark in search.wording.text(search.answer) for mark in profile.turn_marks)


class TestRollouts:
    async def test_up_to_the_end_of_the_clause(self) -> None:
        value = RuleValue(arbitrary)
        await searched(SERVING, value=value, room=60)
        judged = [one.answer for one in value.asked if len(one.answer) < 100]
        assert judged
        assert all(text.endswith((",", ".")) for text in judged)

    async def test_none(self) -> None:
        model = RuleModel()
        await searched(replace(SERVING, rollout="none"), model=model)
        assert all(params.logprobs is not None for _, params in model.calls)

    async def test_a_clause_that_is_complete_is_not_carried_on(self) -> None:
        """Every second token ends a clause: sets of 2, 4, 10 tokens end with one, and only the first token needs a rollout."""

        def by_turns(ids: tuple[int, ...]) -> list[float]:
            ends = len(ids) % 2 == len(QUESTION) % 2
            return [x + (0 if (place >= 18) == (not ends) else -40) for place, x in enumerate(babble(ids)[:-1])] + [-80.0]

        model = RuleModel(by_turns)
        await searched(SERVING, model=model, room=17)
        rollouts = [length - len(QUESTION) for length, params in model.calls if params.logprobs is None]
        assert set(rollouts) <= {0, 1, 3, 5, 7, 15}


class TestUnscored:
    async def test_counts_as_the_worst(self) -> None:
        search, _ = await searched(SERVING, value=RuleValue(lambda text: None if " a" in text else 0.0), room=10)
        assert search.counts.unscored > 0

    async def test_a_judge_that_never_answers_has_failed(self) -> None:
        from trimtab.strategies.core.errors import EngineFailure

        with pytest.raises(EngineFailure, match="no readable value in 15"):
            await searched(SERVING, value=RuleValue(lambda text: None))


class TestEmbeddings:
    async def test_one_batch_an_iteration_and_only_beside_visited_siblings(self) -> None:
        encoder = LetterEncoder()
        search, _ = await searched(SERVING, encoder=encoder)
        assert 0 < len(encoder.batches) <= search.counts.iterations
        untouched = LetterEncoder()
        await searched(SERVING, value=RuleValue(lambda text: 1.0), model=RuleModel(level), room=57, encoder=untouched)
        assert untouched.batches == []
