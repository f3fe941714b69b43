"""The search builds the same tree however it is run: lazily or eagerly, ahead or not, alone or beside others."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies.decoding.doubles import (
    EOS,
    P1,
    WORDS,
    LetterEncoder,
    Logits,
    RuleModel,
    RuleValue,
    arbitrary,
    babble,
    ending_after,
    level,
    listed,
    number,
    short,
)
from trimtab.strategies.core.engine import Call
from trimtab.strategies.decoding.rain_priors import Tokens
from trimtab.strategies.decoding.rain_profile import OFFICIAL, SERVING, Profile
from trimtab.strategies.decoding.rain_sampler import Sampler
from trimtab.strategies.decoding.rain_search import Move, Search
from trimtab.strategies.decoding.rain_text import Wording
from trimtab.strategies.decoding.rain_tree import Node, Rules

QUESTION = tuple(1000 + ord(c) for c in "<user>Why?<assistant>")
MARKS = (" c d", " b", " a")
RELEASED = Rules()
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


def below(node: Node, answer: Tokens = ()) -> Iterator[tuple[Node, Tokens]]:
    """The nodes below one, each with the answer up to its set. answer: that up to the node's own."""
    for child in node.children.values():
        longer = (*answer, *child.tokens)
        yield child, longer
        yield from below(child, longer)


class Enough(Exception):
    """Ends a search after the moves that a test looks at."""


async def searched(
    profile: Profile,
    *,
    seed: str = "7",
    ahead: int = 0,
    jitter: int = 0,
    burst: int = 1,
    room: int = 24,
    complete: int | None = None,
    moves: int | None = None,
    look: Callable[[Move, Tokens], None] = lambda move, answer: None,
    model: RuleModel | None = None,
    value: RuleValue | None = None,
    encoder: LetterEncoder | None = None,
) -> tuple[Search, list[dict[str, Any]]]:
    """A search run to its end or for so many moves, and the tree behind each of them.

    look: called at each move, with the answer that it was chosen behind.
    """
    model = model or RuleModel(jitter=jitter, burst=burst)
    value = value or RuleValue(arbitrary, jitter=jitter)

    async def value_of(text: str) -> float | None:
        from trimtab.strategies.core.messages import Conversation
        from trimtab.strategies.judging.value import Judged

        return (await value.values([Judged(Conversation(()), text)], None))[0]  # type: ignore[arg-type]

    wording = Wording(model.decode, QUESTION, profile, frozenset({EOS}), profile.turn_marks, room, complete or room)
    sampler = Sampler(model, Call("req"), QUESTION, profile, seed)
    search = Search(sampler, wording, value_of, encoder, ahead)
    trees: list[dict[str, Any]] = []

    async def commit(move: Move) -> None:
        trees.append(grown(move.root) | {"move": move.tokens, "finish": move.finish, "iterations": move.iterations})
        look(move, search.answer[: len(search.answer) - len(move.tokens)])
        if len(trees) == moves:
            raise Enough

    with suppress(Enough):
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

    async def test_where_children_are_added(self) -> None:
        eager, expected = await searched(SAME_RULES, value=RuleValue(lambda text: -1.0), room=7)
        lazy, found = await searched(SERVING, value=RuleValue(lambda text: -1.0), room=7, ahead=4, jitter=3)
        assert found == expected
        assert lazy.counts.additions == eager.counts.additions > 0

    async def test_where_similar_siblings_get_credit(self) -> None:
        _, expected = await searched(SAME_RULES, encoder=LetterEncoder())
        _, found = await searched(SERVING, ahead=4, jitter=3, encoder=LetterEncoder())
        assert found == expected
        assert any(credited(tree) for tree in expected)

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


def credited(tree: dict[str, Any]) -> bool:
    """Whether a node below the root has visits that are a similar sibling's."""
    return any(child["visits"] > child["real_visits"] or credited(child) for child in tree["children"])


async def figures(
    profile: Profile,
    value: Callable[[str], float],
    *,
    moves: int = 1,
    priors: Sequence[float] = P1,
    rules: Rules = RELEASED,
) -> list[tuple[int, list[int], int]]:
    """Of the first moves the iterations, the real visits of the root's children, and the number of the committed one."""
    rules = replace(rules, lengths=(1,), children=len(priors), max_children=len(priors))
    seen = []

    def look(move: Move, answer: Tokens) -> None:
        children = move.root.children
        assert list(children) == [(i,) for i in range(len(priors))]
        assert [child.prior for child in children.values()] == pytest.approx([0.75 * p + 0.25 / len(priors) for p in priors])
        seen.append((move.iterations, [child.real_visits for child in children.values()], move.tokens[0]))

    await searched(
        replace(profile, rules=rules, rollout="none"),
        model=RuleModel(listed(priors), jitter=2),
        value=RuleValue(value),
        room=200,
        moves=moves,
        ahead=4,
        look=look,
    )
    return seen


def good_if_first(good: Collection[int], otherwise: float = -1.0) -> Callable[[str], float]:
    """+1 iff the answer's first word is good."""
    return lambda text: 1.0 if text[:2] in {WORDS[i] for i in good} else otherwise


@pytest.mark.parametrize("profile", [SAME_RULES, SERVING], ids=["eager", "lazy"])
class TestFigures:
    """Acceptance checks 1, 2, 3 and 12 over the whole search: the figures of the tree's own tests.

    Every set is one of the likeliest tokens, so that priors are the given ones in the order of the ids.
    """

    @pytest.mark.parametrize(
        ("min_visits", "iterations", "visits"), [(6, [8, 1, 1, 1], [7]), (5, [7, 1, 1, 1], [6]), (16, [24, 7, 7, 7], [17, 6])]
    )
    async def test_always_good(self, profile: Profile, min_visits: int, iterations: list[int], visits: list[int]) -> None:
        found = await figures(profile, lambda text: 1.0, moves=4, rules=Rules(min_visits=min_visits))
        assert [(taken, chosen) for taken, _, chosen in found] == [(taken, 0) for taken in iterations]
        assert found[0][1] == visits + [0] * (10 - len(visits))

    @pytest.mark.parametrize("priors", [[0.1] * 10, [0.991, *[0.001] * 9]])
    async def test_always_good_whatever_the_priors(self, profile: Profile, priors: list[float]) -> None:
        found = await figures(profile, lambda text: 1.0, moves=3, priors=priors)
        assert [(taken, chosen) for taken, _, chosen in found] == [(8, 0), (1, 0), (1, 0)]
        assert found[0][1] == [7, *[0] * 9]

    @pytest.mark.parametrize(
        ("value", "iterations", "visits"),
        [(0.0, [50, 23, 23], [27, 11, 5, 3, 3, 0, 0, 0, 0, 0]), (-1.0, [50, 27], [23, 9, 4, 3, 3, 2, 2, 1, 1, 1])],
    )
    async def test_never_good(self, profile: Profile, value: float, iterations: list[int], visits: list[int]) -> None:
        found = await figures(profile, lambda text: value, moves=len(iterations))
        assert [(taken, chosen) for taken, _, chosen in found] == [(taken, 0) for taken in iterations]
        assert found[0][1] == visits

    @pytest.mark.parametrize(
        ("value", "priors", "rules", "iterations", "visits", "chosen"),
        [
            (good_if_first({3}), P1, RELEASED, 18, [7, 2, 1, 7, 0, 0, 0, 0, 0, 0], 3),
            (good_if_first({3}), P1, Rules(min_visits=16), 28, [7, 2, 1, 17, 0, 0, 0, 0, 0, 0], 3),
            (good_if_first(range(1, 10)), P1, RELEASED, 10, [2, 7, 0, 0, 0, 0, 0, 0, 0, 0], 1),
            (good_if_first({1}), (0.9, 0.1), RELEASED, 12, [4, 7], 1),
            (good_if_first({1}), (0.5, 0.5), RELEASED, 10, [2, 7], 1),
            (good_if_first({2}), (0.7, 0.1, 0.1, 0.1), RELEASED, 13, [4, 1, 7, 0], 2),
            (good_if_first({9}), P1, RELEASED, 46, [15, 6, 2, 2, 1, 1, 1, 1, 1, 15], 9),
            (good_if_first({9}, 0.0), P1, RELEASED, 50, [27, 11, 5, 3, 3, 0, 0, 0, 0, 0], 0),
            (good_if_first({0}), P1, Rules(c_puct=0), 8, [7, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
            (good_if_first({3}), P1, Rules(c_puct=0), 50, [49, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
        ],
    )
    async def test_oracles(
        self,
        profile: Profile,
        value: Callable[[str], float],
        priors: Sequence[float],
        rules: Rules,
        iterations: int,
        visits: list[int],
        chosen: int,
    ) -> None:
        """Without exploration (c = 0) a bad first child is never left: unvisited ones count as bad, ties go to the first."""
        assert await figures(profile, value, priors=priors, rules=rules) == [(iterations, visits, chosen)]


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

    @pytest.mark.parametrize("lengths", [(1,), (2,)])
    async def test_bad_children_get_company(self, lengths: tuple[int, ...]) -> None:
        """Of one token and of several, until there are twenty (acceptance check 7)."""
        sizes: list[int] = []

        def look(move: Move, answer: Tokens) -> None:
            sizes.extend(len(node.children) for node in (move.root, *(node for node, _ in below(move.root))))

        profile = replace(SERVING, rules=Rules(lengths, max_iterations=400))
        search, _ = await searched(profile, value=RuleValue(lambda text: -1.0), room=6, moves=1, look=look)
        assert search.counts.additions > 0
        assert max(sizes) == 20

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

    @pytest.mark.parametrize(
        ("profile", "model", "room", "complete", "end"),
        [
            (SERVING, short, 200, 200, "token"),
            (OFFICIAL["hh"], short, 30, 30, "token"),
            (OFFICIAL["adv"], short, 200, 200, "token"),
            (OFFICIAL["truth"], short, 200, 200, "token"),
            (SERVING, babble, 12, 12, "length"),
            (OFFICIAL["hh"], babble, 24, 12, "length"),
            (OFFICIAL["adv"], babble, 24, 12, "length"),
            (OFFICIAL["truth"], babble, 24, 12, "length"),
            (replace(OFFICIAL["hh"], turn_marks=MARKS), babble, 200, 200, "mark"),
            (replace(OFFICIAL["adv"], turn_marks=MARKS), babble, 200, 200, "mark"),
        ],
    )
    @pytest.mark.parametrize("rule", [arbitrary, lambda text: -1.0], ids=["arbitrary", "bad"])
    async def test_a_terminal_leaf_never_gains_children(
        self, profile: Profile, model: Logits, room: int, complete: int, end: str, rule: Callable[[str], float]
    ) -> None:
        """Acceptance check 10: it is valued again, the same text from memory, and never expanded."""
        engine, value, again = RuleModel(model), RuleValue(rule), set()

        def end_of(node: Node, answer: Tokens) -> str:
            if EOS in node.tokens:
                return "token"
            if any(mark in engine.decode(answer) for mark in profile.turn_marks):
                return "mark"
            return "length" if len(answer) >= complete else ""

        def look(move: Move, answer: Tokens) -> None:
            for node, longer in below(move.root, answer):
                if found := end_of(node, longer):
                    assert not node.children
                    if node.real_visits > 1:
                        again.add(found)

        await searched(profile, model=engine, value=value, room=room, complete=complete, moves=5, look=look)
        texts = [judged.answer for judged in value.asked]
        assert end in again
        assert len(texts) == len(set(texts))

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
        profile = replace(OFFICIAL["hh"], turn_marks=MARKS)
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
