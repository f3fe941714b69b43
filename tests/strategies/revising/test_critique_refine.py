"""Critique by principles: how many calls, what is drawn, what takes the draft's place, what never leaks into the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies.doubles import ListEngine, context, said
from tests.strategies.revising.doubles import QUESTION, Continuer, Cut, Table, configured, contents, revised, under
from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Conversation
from trimtab.strategies.pipeline import Pipeline
from trimtab.strategies.prompts.critiques import KEEP, PAIRS, REVISION_FORM
from trimtab.strategies.revising.critique_refine import Principle
from trimtab.strategies.revising.dialogue import dialogue_of
from trimtab.strategies.revising.forms import Critic, SelfRefine, Speaker
from trimtab.strategies.revising.rounds import DELIMITERS, Revision


@pytest.mark.parametrize("rounds", [1, 2, 4])
async def test_k_rounds_make_one_plus_two_k_calls(rounds: int) -> None:
    engine = ListEngine([f"text {number}" for number in range(1 + 2 * rounds)])
    ctx = context(engine)
    pipeline = Pipeline.of([configured(rounds=rounds)])
    deltas = [delta async for delta in pipeline.run(QUESTION, Params(), ctx, "closed")]
    assert len(engine.asked) == 1 + 2 * rounds
    assert "".join(delta.text for delta in deltas) == f"text {2 * rounds}"
    assert pipeline.cost(Params(max_tokens=10)) == Cost(1 + 2 * rounds, 10 + rounds * (256 + 10))


async def test_a_round_goes_on_where_the_draft_ended() -> None:
    engine = ListEngine(["it is rude", "a kind answer"])
    shaped = QUESTION.with_system(before="Be kind.")
    assert await revised(configured(), shaped, "a rude answer", context(engine)) == "a kind answer"
    critique, revision = engine.asked
    assert critique.messages[:2] == shaped.messages
    assert [message.role for message in critique.messages[2:]] == ["assistant", "user"]
    assert critique.messages[2].text == "a rude answer"
    assert revision.messages[: len(critique.messages)] == critique.messages
    assert revision.messages[4].text == "it is rude"
    assert revision.messages[5].text.endswith(REVISION_FORM)
    assert revision.original == QUESTION


async def test_the_next_round_criticises_the_revision_alone() -> None:
    engine = ListEngine(["critique 1", "answer 1", "critique 2", "answer 2"])
    assert await revised(configured(rounds=2), QUESTION, "answer 0", context(engine)) == "answer 2"
    assert contents(engine, 2)[1] == "answer 1"
    assert len(engine.asked[2].messages) == len(engine.asked[0].messages)


async def test_the_seed_fixes_the_principles() -> None:
    async def principles(seed: int) -> list[str]:
        ctx = context(ListEngine(["text"] * 8), seed=seed)
        await revised(configured(rounds=4), QUESTION, "draft", ctx)
        return [round_["principle"] for round_ in ctx.step.details["rounds"]]

    assert await principles(5) == await principles(5)
    assert len({tuple(await principles(seed)) for seed in range(20)}) == 20


async def test_each_choice_draws_its_own_principles() -> None:
    """And the first draws as if it were alone."""

    async def principles(n: int) -> list[list[str]]:
        ctx = context(ListEngine(["text"] * 5 * n), params=Params(n=n), seed=5)
        async for _ in Pipeline.of([configured(rounds=2)]).run(QUESTION, ctx.params, ctx, "closed"):
            pass
        told = ctx.trace.steps[-1].details
        return [[round_["principle"] for round_ in one["rounds"]] for one in told.get("choices", [told])]

    alone, several = await principles(1), await principles(3)
    assert several[0] == alone[0]
    assert len({tuple(drawn) for drawn in several}) == 3


async def test_every_principle_is_drawn() -> None:
    """With 18 pairs and 600 draws the chance that a given one is missing is (17/18)^600 < 2e-15."""
    ctx = context(ListEngine(["text"] * 1200), seed=1)
    drawn: set[str] = set()
    for seed in range(75):
        ctx = context(ListEngine(["text"] * 16), seed=seed)
        await revised(configured(rounds=8), QUESTION, "draft", ctx)
        drawn |= {round_["principle"] for round_ in ctx.step.details["rounds"]}
    assert drawn == {pair.name for pair in PAIRS}


async def test_own_principles_replace_the_bundled_ones() -> None:
    engine = ListEngine(["a critique", "an answer"])
    rule = Principle(name="rhyme", critique="Does it rhyme?", revision="Make it rhyme.")
    ctx = context(engine)
    await revised(configured(principles=(rule,)), QUESTION, "draft", ctx)
    assert contents(engine, 0)[-1].startswith("Does it rhyme?")
    assert contents(engine, 1)[-1].startswith("Make it rhyme.")
    assert ctx.step.details["rounds"][0]["principle"] == "rhyme"
    assert ctx.step.details["prompts"].startswith("own:")


def test_there_are_at_least_sixteen_pairs_of_their_own_names() -> None:
    assert len(PAIRS) >= 16
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)
    assert not any(delimiter in text for pair in PAIRS for text in (pair.critique, pair.revision) for delimiter in DELIMITERS)


async def test_an_empty_critique_is_left_out_and_the_revision_still_asked_for() -> None:
    engine = ListEngine(["", "a better answer"])
    assert await revised(configured(), QUESTION, "draft", context(engine)) == "a better answer"
    assert [message.role for message in engine.asked[1].messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("revision", "reason"), [("", "empty"), (" \n", "empty"), ("ok", "too short"), (f"{KEEP} as it is", "empty")]
)
async def test_a_revision_that_is_none_keeps_the_draft(revision: str, reason: str) -> None:
    ctx = context(ListEngine(["critique", revision]))
    assert await revised(configured(), QUESTION, "the draft", ctx) == "the draft"
    assert ctx.step.details["rounds"][0]["accepted"] is False
    assert ctx.step.details["rounds"][0]["reason"] == reason


async def test_a_short_draft_may_have_a_short_revision() -> None:
    assert await revised(configured(), said("2+2?"), "5", context(ListEngine(["wrong", "4"]))) == "4"


async def test_a_truncated_revision_keeps_the_draft() -> None:
    ctx = context(Cut(["critique", "half a"], cut_from=1))
    assert await revised(configured(), QUESTION, "the draft", ctx) == "the draft"
    assert ctx.step.details["rounds"][0]["reason"] == "truncated"


async def test_a_truncated_critique_is_used() -> None:
    engine = Cut(["half a critique", "half an answer"])
    await revised(configured(), QUESTION, "the draft", context(engine))
    assert contents(engine, 1)[-2] == "half a critique"


async def test_what_begins_with_a_delimiter_is_cut_off() -> None:
    engine = ListEngine(["critique", "A kind answer.\n\nCritiqueRequest: look again"])
    assert await revised(configured(), QUESTION, "draft", context(engine)) == "A kind answer."


async def test_a_draft_about_delimiters_is_not_cut_short() -> None:
    draft = "The paper writes CritiqueRequest: before each request, and then the critique."
    ctx = context(ListEngine(["critique", "It writes CritiqueRequest: before a request."]))
    assert await revised(configured(), QUESTION, draft, ctx) == draft


pieces = st.text(alphabet="ab .\n", max_size=8)
texts = st.lists(st.one_of(pieces, st.sampled_from(DELIMITERS)), max_size=5).map("".join)


@given(draft=texts.filter(bool), critique=texts, revision=texts, raw=st.booleans())
async def test_no_delimiter_is_left_in_a_revision(draft: str, critique: str, revision: str, raw: bool) -> None:
    model = Continuer([critique, revision])
    ctx = context(policy=model.ports) if raw else context(ListEngine([critique, revision]))
    answer = await revised(configured(), QUESTION, draft, ctx)
    assert answer == draft or not any(delimiter in answer for delimiter in DELIMITERS)


@given(values=st.lists(st.one_of(st.none(), st.floats(-1, 1)), min_size=5, max_size=5), form=st.sampled_from(["c", "s", "t"]))
async def test_the_verifiers_value_never_falls(values: list[float | None], form: str) -> None:
    """Check 19: whatever the four revisions are worth, the answer is worth at least what the draft is."""
    names = ["draft", *(f"revision {number}" for number in range(4))]
    answers = [text for name in names[1:] for text in (f"critique of {name}", name)]
    ctx = context(ListEngine([text for text in answers if form != "t" or text in names]))
    revision = under(ctx, dict(zip(names, values, strict=True)), draft="draft")
    if form == "c":
        run = configured(accept="if_better").build()._form()
    else:
        run = SelfRefine(Speaker(9), 3000) if form == "s" else Critic(Speaker(9), 2.0, None, 1)
    await run.run(revision, dialogue_of(QUESTION, ctx), 4)
    before, after = values[0], values[names.index(revision.answer.text)]
    assert revision.answer.text == "draft" or (before is not None and after is not None and after > before)
    if form == "s" and before is not None:
        assert after == max(value for value in values if value is not None)


async def test_the_prefill_is_judged_with_the_answer() -> None:
    ctx = context(ListEngine([]))
    asked = Conversation(QUESTION.messages, "Well, ")
    revision = Revision(asked, "ask.", "if_better", Table({"Well, ask.": 0.5}), ctx)
    assert await revision.own_value() == 0.5


async def test_a_given_opening_is_continued_by_the_revision_too() -> None:
    engine = ListEngine(["critique", "ask kindly."])
    opened = Conversation(QUESTION.messages, "Well, ")
    assert await revised(configured(), opened, "just ask.", context(engine)) == "ask kindly."
    assert contents(engine, 0)[1] == "Well, just ask."
    assert [asked.prefill for asked in engine.asked] == [None, "Well, "]
