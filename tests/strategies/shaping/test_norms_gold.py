"""Norms over a club's own rules: gold bundles, in memory and stored, rules that change, and reading the chosen letter."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from tests.strategies.doubles import context, said
from tests.strategies.shaping.doubles import WordCorpora
from tests.strategies.shaping.gold import QUESTIONS, RULES, Question
from trimtab.retrieval.documents import Document
from trimtab.retrieval.encoder import Encoder
from trimtab.server.corpora import ServedCorpora
from trimtab.server.encoders import Encoders
from trimtab.server.engines.scripted import ScriptedEngine
from trimtab.server.settings import ScriptedConfig
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Call
from trimtab.strategies.core.messages import Conversation
from trimtab.strategies.core.stores import Corpora
from trimtab.strategies.judging.readout import read_choice
from trimtab.strategies.shaping.norms import NormsConfig

BY_TEXT = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.text[:30])


@pytest.fixture
def corpora() -> WordCorpora:
    corpora = WordCorpora()
    for name, text in RULES.items():
        corpora.put(name, text)
    return corpora


LONG = " ".join(f"Berth {number} is kept free for boats that look for shelter." for number in range(1, 60))
"""A rule of several passages: the encoder reads 254 tokens at a time."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedCorpora]:
    """The same rules and a long one, in the server's own store, embedded by the default encoder."""
    encoder = Encoder()
    corpora = ServedCorpora(tmp_path_factory.mktemp("data"), Encoders.of({encoder.name: encoder}))
    documents = [Document(name, text) for name, text in {**RULES, "berths": LONG}.items()]
    asyncio.run(corpora.write(lambda library: library.create("club").put(documents)))
    yield corpora
    asyncio.run(corpora.close())


def over(corpora: Corpora) -> RequestContext:
    return context(policy=ScriptedEngine(ScriptedConfig(), name="m").ports, corpora=corpora)


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
async def test_the_stored_oracle_states_every_rule_whole(question: Question, stored: ServedCorpora) -> None:
    config = NormsConfig(corpus="club", documents=tuple(sorted(question.rules)))
    shaped, ids = await stated(config, question, over(stored))
    assert set(ids) == question.rules
    assert all(RULES[name] in shaped.messages[0].text for name in question.rules)


async def test_a_rule_of_several_passages_is_stated_whole(stored: ServedCorpora) -> None:
    config = NormsConfig(corpus="club", documents=("berths",), budget_tokens=32_000)
    shaped = await config.build().shape(said("Is berth 7 free?"), over(stored))
    assert isinstance(shaped, Conversation)
    assert LONG in shaped.messages[0].text


class Member(ScriptedEngine):
    """Knows the right letter where the prompt states the rules that settle the question, and holds it for wrong elsewhere."""

    def __init__(self, question: Question) -> None:
        super().__init__(ScriptedConfig(), name="m")
        self.question = question

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        prompt, right = self.decode(prompt_token_ids), ord(self.question.answer)
        knows = all(RULES[name] in prompt for name in self.question.rules)
        return tuple(-0.1 if (candidate == right) == knows else -3.0 for candidate in candidates)


@BY_TEXT
async def test_the_letter_is_read_off_the_prompt_with_its_rules(question: Question, corpora: WordCorpora) -> None:
    ctx = context(policy=Member(question).ports, corpora=corpora)
    shaped, _ = await stated(NormsConfig(), question, ctx)
    for prompt, knows in ((shaped, True), (shaped.original, False)):
        readout = await read_choice(replace(prompt, prefill="The answer is ("), ("A", "B", "C"), ctx)
        assert (readout.best == question.answer) is knows
