"""Norms over a club's own rules: gold bundles, rules that change between two requests, and reading the chosen letter."""

from dataclasses import replace

import pytest

from tests.strategies.doubles import context, said
from tests.strategies.judging.test_readout import GivenLogits
from tests.strategies.shaping.doubles import WordCorpora
from tests.strategies.shaping.gold import QUESTIONS, RULES, Question
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.messages import Conversation
from trimtab.strategies.judging.readout import read_choice
from trimtab.strategies.shaping.norms import NormsConfig

BY_TEXT = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.text[:30])


@pytest.fixture
def corpora() -> WordCorpora:
    corpora = WordCorpora()
    for name, text in RULES.items():
        corpora.put(name, text)
    return corpora


def over(corpora: WordCorpora, **logits: float) -> RequestContext:
    engine = GivenLogits({ord(letter): value for letter, value in logits.items()})
    return context(policy=engine.ports, corpora=corpora)


async def stated(config: NormsConfig, question: Question, ctx: RequestContext) -> tuple[Conversation, list[str]]:
    """The prompt of a question with its options, and the ids of the rules in it."""
    options = "\n".join(f"{letter}. {option}" for letter, option in zip("ABC", question.options, strict=True))
    shaped = await config.build().shape(said(f"{question.text}\n{options}"), ctx)
    assert isinstance(shaped, Conversation)
    return shaped, [rule["id"] for rule in ctx.step.details["rules"]]


@BY_TEXT
async def test_the_oracle_states_the_gold_bundle_and_nothing_else(question: Question, corpora: WordCorpora) -> None:
    shaped, ids = await stated(NormsConfig(documents=tuple(sorted(question.rules))), question, over(corpora))
    assert set(ids) == question.rules
    assert all(RULES[name] in shaped.messages[0].text for name in question.rules)


@BY_TEXT
async def test_rules_are_a_beginning_of_the_ranking_below_the_budget(question: Question, corpora: WordCorpora) -> None:
    """A token a byte here."""
    ctx = over(corpora)
    _, ids = await stated(NormsConfig(budget_tokens=400), question, ctx)
    query = f"{question.text}\n" + "\n".join(f"{x}. {option}" for x, option in zip("ABC", question.options, strict=True))
    ranking = [hit.document.id for hit in await corpora.search("club", query, 200)]
    sizes = [len(RULES[name].encode()) for name in ranking]
    assert ids == ranking[: len(ids)]
    assert sum(sizes[: len(ids)]) < 400 <= sum(sizes[: len(ids) + 1])


async def test_what_changes_in_the_corpus_is_seen_by_the_next_request(corpora: WordCorpora) -> None:
    question = QUESTIONS[0]
    corpora.put("guests-2", "Guests may take the helm of a club boat everywhere.")
    changed, _ = await stated(NormsConfig(), question, over(corpora))
    assert "Guests may take the helm of a club boat everywhere." in changed.messages[0].text
    del corpora.documents["guests-2"]
    removed, ids = await stated(NormsConfig(), question, over(corpora))
    assert "guests-2" not in ids
    assert "take the helm" not in removed.messages[0].text


@BY_TEXT
async def test_the_letter_is_read_off_the_prompt_with_its_rules(question: Question, corpora: WordCorpora) -> None:
    logits = {letter: -0.1 if letter == question.answer else -3.0 for letter in "ABC"}
    ctx = over(corpora, **logits)
    shaped, _ = await stated(NormsConfig(), question, ctx)
    readout = await read_choice(replace(shaped, prefill="The answer is ("), ("A", "B", "C"), ctx)
    assert readout.best == question.answer
