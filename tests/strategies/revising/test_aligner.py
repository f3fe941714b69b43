"""Aligner: what the correction model is asked, in whose format, and what becomes of its answer."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies.doubles import ListEngine, context, said
from tests.strategies.revising.doubles import QUESTION, Continuer, revised
from trimtab.artifacts.correction import FORMATS, CorrectionTemplate, FormatName
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Call, Capabilities, Params, Ports
from trimtab.strategies.core.errors import ConfigError, DeadlineExceeded, EngineUnavailable, MissingRole
from trimtab.strategies.core.messages import Conversation, Delta, Message, Text, Usage
from trimtab.strategies.pipeline import Pipeline
from trimtab.strategies.revising.aligner import AlignerConfig
from trimtab.strategies.revising.correction import Correction, question_of

BEGINNING = "BEGINNING OF CONVERSATION: USER: "
TALK = Conversation(
    (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))
)


def aligned_by(
    corrector: Ports,
    *,
    stored: FormatName | None = "question_answer",
    policy: ListEngine | None = None,
    params: Params | None = None,
) -> RequestContext:
    """A context whose aligner's checkpoint stores a format."""
    template = FORMATS[stored] if stored else None
    known = replace(corrector, capabilities=replace(corrector.capabilities, correction=template))
    return context(policy or ListEngine([]), roles={"aligner": known}, params=params)


@dataclass
class Copier:
    """A correction model that reads question and answer by the format's separators alone and copies the answer."""

    name: FormatName
    read: list[tuple[str, str]] = field(default_factory=list)

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        template = FORMATS[self.name]
        before, rest = template.raw.split("{question}")
        between, after = rest.split("{answer}")
        inner = text.text.removeprefix(before).removesuffix(after)
        assert f"{before}{inner}{after}" == text.text
        question, answer = inner.split(between, 1)
        assert between not in answer
        self.read.append((question, answer))
        yield Delta(0, f" {answer}", "stop")
        yield Delta(usage=Usage(30, 10, 0))


async def test_the_published_format_is_asked_byte_for_byte() -> None:
    model = Continuer([" Better."])
    assert await revised(AlignerConfig(), QUESTION, "Bad.", aligned_by(model.ports)) == "Better."
    assert model.asked[0].text == (f"{BEGINNING}##Question: How do I get a raise?\n##Answer: Bad.\n##Correction:  ASSISTANT:")
    assert model.asked[0].add_bos
    assert [segment.text for segment in model.asked[0].segments if segment.kind == "content"] == [
        "How do I get a raise?",
        "Bad.",
    ]


async def test_a_request_may_name_the_format() -> None:
    model = Continuer([" Better."] * 2)
    await revised(AlignerConfig(template="edit_pair"), QUESTION, "Bad.", aligned_by(model.ports))
    assert model.asked[0].text.endswith("more helpful and harmless: How do I get a raise? | Bad. ASSISTANT:")
    own = CorrectionTemplate(message="Q={question} A={answer} C=")
    await revised(AlignerConfig(template=own), QUESTION, "Bad.", aligned_by(model.ports, stored=None))
    assert model.asked[1].text == "Q=How do I get a raise? A=Bad. C="


async def test_a_chat_engine_is_asked_with_the_message_alone() -> None:
    model = ListEngine(["Better."])
    assert await revised(AlignerConfig(), QUESTION, "Bad.", aligned_by(Ports(messages=model))) == "Better."
    assert model.asked[0] == said("##Question: How do I get a raise?\n##Answer: Bad.\n##Correction: ")


NOISE = st.text(alphabet="ab |:#\n ", max_size=8)
MARKS = sorted({mark for template in FORMATS.values() for mark in template.marks})
texts = st.lists(st.one_of(NOISE, st.sampled_from(MARKS)), min_size=1, max_size=6).map("".join)


@given(question=texts, draft=texts.filter(bool), name=st.sampled_from(sorted(FORMATS)))
async def test_a_copied_draft_is_the_draft(question: str, draft: str, name: FormatName) -> None:
    """Check 20, with texts full of separators: the copier reads its fields as whole as they were."""
    model = Copier(name)
    ctx = aligned_by(Ports(text=model), stored=name)
    assert await revised(AlignerConfig(history="last"), said(question), draft, ctx) == draft
    assert ctx.step.details["accepted"] is False
    separators = Correction(FORMATS[name]).separators
    assert (separators.together(model.read[0][0]), separators.together(model.read[0][1])) == (question, draft)


async def test_separators_in_a_correction_are_put_together_again() -> None:
    model = Continuer([" Write ##Answer : first | then the | sign || twice."])
    assert await revised(AlignerConfig(), QUESTION, "x" * 9, aligned_by(model.ports)) == (
        "Write ##Answer: first | then the | sign || twice."
    )


async def test_a_model_that_runs_on_is_cut_at_the_next_field() -> None:
    model = Continuer([" Better.\n##Question: and now?"])
    assert await revised(AlignerConfig(), QUESTION, "Bad one.", aligned_by(model.ports)) == "Better."
    assert model.asked[0].stops == FORMATS["question_answer"].stops


@pytest.mark.parametrize(
    ("answer", "finish", "reason"),
    [
        ("", "stop", "empty"),
        (" half a corr", "length", "truncated"),
        (" ok", "stop", "too short"),
        (" Bad one.", "stop", "unchanged"),
    ],
)
async def test_what_is_no_correction_leaves_the_draft(answer: str, finish: str, reason: str) -> None:
    ctx = aligned_by(Continuer([answer], finish).ports)
    assert await revised(AlignerConfig(), QUESTION, "Bad one.", ctx) == "Bad one."
    assert ctx.step.details["kept"] == reason
    assert ctx.step.status == "applied"


async def test_a_draft_keeps_the_space_around_it_where_nothing_changed() -> None:
    ctx = aligned_by(Continuer([" Bad one."]).ports)
    assert await revised(AlignerConfig(), QUESTION, "\nBad one.  ", ctx) == "\nBad one.  "


def test_earlier_turns_are_told_before_the_question() -> None:
    assert question_of(TALK) == "Earlier in this conversation:\nPerson: Hi\nReply: Hello\nNow:\nWhy?"
    assert question_of(TALK, turns=1) == "Earlier in this conversation:\nReply: Hello\nNow:\nWhy?"
    assert question_of(TALK, turns=0) == "Why?"
    assert question_of(said("Why?")) == "Why?"
    assert question_of(Conversation(())) == ""


async def test_history_is_told_unless_told_otherwise() -> None:
    model = Continuer([" Better."] * 2)
    await revised(AlignerConfig(), TALK, "Bad one.", aligned_by(model.ports))
    await revised(AlignerConfig(history="last"), TALK, "Bad one.", aligned_by(model.ports))
    assert "Person: Hi\nReply: Hello\nNow:\nWhy?" in model.asked[0].text
    assert "##Question: Why?\n" in model.asked[1].text


async def test_what_was_asked_is_corrected_not_what_was_rendered() -> None:
    model = Continuer([" Better."])
    shaped = QUESTION.with_system(before="Rules.").changed((Message("user", "an example"), *QUESTION.messages))
    await revised(AlignerConfig(), shaped, "Bad one.", aligned_by(model.ports))
    assert "an example" not in model.asked[0].text


async def test_sampling_is_greedy_within_the_requests_limits() -> None:
    model = Continuer([" Better."] * 2)
    asked = Params(max_tokens=50, n=2, temperature=0.9, stop=("END",), logprobs=3, presence_penalty=1.0, seed=4)
    await revised(AlignerConfig(), QUESTION, "Bad one.", aligned_by(model.ports, params=asked))
    assert model.params[0] == Params(max_tokens=50, temperature=0.0, stop=("END",))
    config = AlignerConfig(max_tokens=20, temperature=0.5)
    await revised(config, QUESTION, "Bad one.", aligned_by(model.ports, params=asked))
    assert (model.params[1].max_tokens, model.params[1].temperature) == (20, 0.5)
    assert model.params[1].seed is not None
    assert config.cost(asked) == Cost(1, 20)


CODE = "```\nx = 1\ny = 2\nprint(x + y)\n```"
JSON: Mapping[str, Any] = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}


@pytest.mark.parametrize(
    ("draft", "native", "reason"),
    [(CODE, {}, "code"), ("text", JSON, "structured output"), ('{"name": "f"}', {}, "structured output")],
)
async def test_code_and_structured_drafts_are_left_alone(draft: str, native: Mapping[str, Any], reason: str) -> None:
    ctx = aligned_by(Continuer([]).ports, params=Params(native=native))
    assert await revised(AlignerConfig(), QUESTION, draft, ctx) == draft
    assert (ctx.step.status, ctx.step.reason) == ("skipped", reason)


async def test_under_a_lock_a_form_is_kept_or_the_draft_is() -> None:
    model = Continuer(["no json", '{"a": 2}'])
    for expected in ('{"a": 1}', '{"a": 2}'):
        able = Capabilities(response_format=frozenset({"text", "json_schema"}))
        ctx = aligned_by(replace(model.ports, capabilities=able), params=Params(native=JSON))
        assert await revised(AlignerConfig().locked(), QUESTION, '{"a": 1}', ctx) == expected
    assert model.params[0].native == JSON


async def test_thoughts_before_the_answer_are_not_corrected() -> None:
    model = Continuer([" Better."])
    draft = "<think>What to say?</think>\n\nBad one."
    assert await revised(AlignerConfig(), QUESTION, draft, aligned_by(model.ports)) == "<think>What to say?</think>\n\nBetter."
    assert "think" not in model.asked[0].text


def test_without_an_aligner_the_role_is_missing() -> None:
    with pytest.raises(MissingRole):
        Pipeline.of([AlignerConfig()]).check(context(ListEngine([])).engines)


def test_without_a_format_it_is_not_known_how_to_ask() -> None:
    engines = aligned_by(Continuer([]).ports, stored=None).engines
    with pytest.raises(ConfigError, match=r"correction\.json"):
        Pipeline.of([AlignerConfig()]).check(engines)
    Pipeline.of([AlignerConfig(template="edit_pair")]).check(engines)


class Down:
    """An engine that is gone."""

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        for reason in ("the aligner is down",):
            raise EngineUnavailable(reason)
        yield Delta()


async def test_an_aligner_that_is_down_follows_the_policy() -> None:
    async def answered(on_error: Any) -> str:
        ctx = aligned_by(Ports(text=Down()), policy=ListEngine(["the draft"]))
        stream = Pipeline.of([AlignerConfig()]).run(QUESTION, Params(), ctx, on_error)
        text = "".join([delta.text async for delta in stream])
        assert [step.status for step in ctx.trace.steps] == ["applied", "degraded"]
        return text

    assert await answered("degrade") == "the draft"
    with pytest.raises(EngineUnavailable, match="down"):
        await answered("closed")


@dataclass
class Silent:
    """An engine that takes the question and never answers."""

    closed: int = 0

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        try:
            await asyncio.Event().wait()
            yield Delta()
        finally:
            self.closed += 1


async def test_an_aligner_that_never_answers_is_left_at_the_deadline() -> None:
    silent = Silent()

    async def answered(on_error: Any) -> str:
        ctx = aligned_by(Ports(text=silent), policy=ListEngine(["the draft"]))
        ctx = replace(ctx, budget=Budget(deadline=time.monotonic() + 0.2))
        stream = Pipeline.of([AlignerConfig()]).run(QUESTION, Params(), ctx, on_error)
        text = "".join([delta.text async for delta in stream])
        assert [step.status for step in ctx.trace.steps] == ["applied", "degraded"]
        assert "deadline_ms" in ctx.trace.steps[1].reason
        return text

    assert await answered("degrade") == "the draft"
    with pytest.raises(DeadlineExceeded):
        await answered("closed")
    assert silent.closed == 2


async def test_each_choice_is_corrected_and_both_passes_are_counted() -> None:
    model = Continuer([" First corrected.", " Second corrected."])
    ctx = replace(
        aligned_by(model.ports),
        engines={**aligned_by(model.ports).engines, "policy": Ports(messages=ListEngine(["one", "two"]))},
    )
    stream = Pipeline.of([AlignerConfig()]).run(QUESTION, Params(n=2), ctx, "closed")
    deltas = [delta async for delta in stream]
    assert {delta.index: delta.text for delta in deltas} == {0: "First corrected.", 1: "Second corrected."}
    meters = {role: meter for step in ctx.trace.steps for role, meter in step.meters.items()}
    assert (meters["policy"].calls, meters["aligner"].calls) == (1, 2)
    assert meters["aligner"].usage == Usage(40, 14, 0)


async def test_a_full_trace_shows_the_edits() -> None:
    ctx = aligned_by(Continuer([" Ask kindly."]).ports)
    ctx.trace.level = "full"
    await revised(AlignerConfig(), QUESTION, "Ask rudely.", ctx)
    assert ctx.step.details == {"words_added": 1, "words_removed": 1, "accepted": True}
    assert ctx.step.full["diff"].endswith("-Ask rudely.\n+Ask kindly.")


@dataclass
class Bytes(Continuer):
    """A base model whose tokens are bytes."""

    def encode_text(self, text: Text) -> tuple[int, ...]:
        return tuple(text.text.encode())

    @property
    def ports(self) -> Ports:
        return Ports(text=self, tokens=self, capabilities=Capabilities(max_model_len=400))  # type: ignore[arg-type]


async def test_earlier_turns_leave_room_for_the_correction() -> None:
    """The empty prompt has 81 bytes, the draft counts twice: of 400, 219 are left for turns of 40 and their labels."""
    turns = [Message(("user", "assistant")[place % 2], f"{place}".rjust(40, ".")) for place in range(8)]
    model = Bytes([" Better."])
    await revised(AlignerConfig(), Conversation((*turns, Message("user", "Why?"))), "d" * 50, aligned_by(model.ports))
    asked = model.asked[0].text
    assert "Why?" in asked
    assert ("." * 39 + "7") in asked
    assert ("." * 39 + "0") not in asked
    assert len(asked.encode()) + 50 <= 400
