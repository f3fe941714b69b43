"""In-context alignment: answered prompts that are similar to the question are shown before it, the most similar one last."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal, Self

from pydantic import Field

from trimtab.strategies.core.config import RoleName
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import PortName
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import Conversation, Message, Prompt, Segment, Text
from trimtab.strategies.prompts.demonstrations import note
from trimtab.strategies.shaping.demonstration import ANSWER, BASELINE, QUESTION, STOP, Demonstration, distinct, plain
from trimtab.strategies.shaping.fitting import Fitted, fit
from trimtab.strategies.shaping.retrieving import (
    CorpusName,
    RetrievingConfig,
    leave_out,
    nothing_found,
    query_of,
    search,
    timed,
)
from trimtab.strategies.shaping.turns import Turn, turns_of

POOL = 2
"""Passages that are searched for each demonstration looked at: of these, duplicates and other passages of a document go."""


class DemonstrationsConfig(RetrievingConfig):
    """Shows answered prompts like the question before it, so that the model answers in their manner."""

    kind: Literal["demonstrations"] = "demonstrations"
    corpus: CorpusName = "default-demonstrations"
    """Name of the corpus of demonstrations: documents whose text is a prompt and whose `metadata.answer` is its answer."""
    max_k: int = Field(default=20, ge=1, le=200)
    """Most demonstrations that are looked at."""
    each_tokens: int = Field(default=500, ge=1, le=32_000)
    """A longer demonstration is passed over, in the policy's own tokens."""
    budget_tokens: int = Field(default=3000, ge=1, le=128_000)
    """The demonstrations together have at most this many tokens; the first that goes over ends the list (1000 = "short")."""
    min_similarity: float = Field(default=0.25, ge=-1.0, le=1.0)
    """Least cosine similarity of a demonstration and the query (the paper knows none; below 0.25, texts of the default encoder
    have little to do with each other)."""
    equal: Literal["drop", "keep"] = "drop"
    """What happens to a demonstration whose prompt is the question itself: in evaluations it gives the answer away."""
    order: Literal["best_last", "by_id"] = "best_last"
    """best_last: the most similar one stands nearest to the question (the paper); by_id: in a fixed order, so that questions
    with the same demonstrations share a cached prompt."""
    rendering: Literal["auto", "chat", "base"] = "auto"
    """chat: as turns before the conversation; base: as a raw prompt of questions and answers (the paper); auto: base where the
    model has no chat template and no later strategy renders the conversation, else chat."""
    temperature: float | None = Field(default=0.7, ge=0.0, le=2.0)
    """Temperature of a raw prompt's answer where the request names none (the paper's); null leaves it to the model."""

    role: ClassVar[RoleName] = "shaper"
    source: ClassVar[str] = "Han 2023, arXiv 2308.04275, section 3"

    def needs(self) -> frozenset[PortName]:
        """The text port for a raw prompt."""
        return frozenset({"text"}) if self.rendering == "base" else frozenset()

    def renders_text(self) -> bool:
        """Under base."""
        return self.rendering == "base"

    def may_render_text(self) -> bool:
        """Also under auto."""
        return self.rendering != "chat"

    def locked(self) -> Self:
        """Without a floor under similarity, unless the operator set one: a question far from everything would leave all out."""
        return self if "min_similarity" in self.model_fields_set else self.model_copy(update={"min_similarity": -1.0})

    def build(self) -> "Demonstrations":
        """The shaper."""
        return Demonstrations(self)


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Puts retrieved demonstrations before the conversation.

    Source: Han 2023, arXiv 2308.04275, section 3 and its released code (top 20 by similarity of prompts, over 500 tokens passed
    over, first overflow of 3000 stops, reversed, "Question: ... Here\u2019s an example answer: ...").
    Deviation: the default encoder in place of Contriever, by cosine similarity; a floor under it; duplicates and the question
    itself are passed over; string stops in place of token ids; texts cannot add questions; a chat rendering with a note.
    """

    config: DemonstrationsConfig

    async def shape(self, prompt: Prompt, ctx: RequestContext) -> Prompt:
        """The conversation behind its demonstrations, as a conversation or as a raw prompt."""
        if not isinstance(prompt, Conversation):
            raise MissingCapability("demonstrations works on conversations, not on raw prompts")
        as_text = self._renders_text(ctx)
        shown = await self._chosen(prompt, ctx)
        if as_text:
            return self._text(prompt, shown, ctx)
        return self._conversation(prompt, shown) if shown else prompt

    def _renders_text(self, ctx: RequestContext) -> bool:
        if self.config.rendering == "auto":
            return ctx.engine().messages is None and not ctx.rendered_later
        return self.config.rendering == "base"

    async def _chosen(self, prompt: Conversation, ctx: RequestContext) -> Sequence[Demonstration]:
        """The demonstrations in the order in which they are shown."""
        asked = query_of(prompt, "last") if self.config.equal == "drop" else None
        with timed(ctx):
            hits = await search(self.config, query_of(prompt, self.config.query), POOL * self.config.max_k, ctx)
            near = [hit for hit in hits if hit.score >= self.config.min_similarity]
            ranked = list(islice(distinct(near, unlike=asked), self.config.max_k))
            texts = [one.rendered for one in ranked]
            fitted = await fit(texts, ctx, room=self.config.budget_tokens, each=self.config.each_tokens)
        best_first = [ranked[place] for place in fitted.kept]
        self._tell(best_first, fitted, ctx)
        if not ranked:
            await nothing_found(self.config, ctx)
        elif not best_first:
            limits = f"each_tokens is {self.config.each_tokens} and budget_tokens {self.config.budget_tokens}"
            leave_out(self.config, ctx, f"none of {len(ranked)} demonstrations fits, {limits}", "no demonstration fits")
        return sorted(best_first, key=lambda one: one.id) if self.config.order == "by_id" else best_first[::-1]

    def _tell(self, best_first: Sequence[Demonstration], fitted: Fitted, ctx: RequestContext) -> None:
        cited = [
            {"id": one.id, "score": round(one.score, 4), "tokens": tokens}
            for one, tokens in zip(best_first, fitted.counts, strict=True)
        ]
        ctx.step.note(demonstrations=cited[::-1], demonstration_tokens=fitted.total)
        ctx.step.note_full(texts=[{"prompt": one.prompt, "answer": one.answer} for one in best_first[::-1]])
        if not fitted.exact:
            ctx.step.note(tokens="estimated: this engine shows no tokenizer")

    def _conversation(self, prompt: Conversation, shown: Sequence[Demonstration]) -> Conversation:
        """Demonstrations as turns behind the system turn, which says what they are."""
        noted = prompt.with_system(after=note(len(shown)))
        turns = [turn for one in shown for turn in (Message("user", one.prompt), Message("assistant", one.answer))]
        return noted.changed((noted.messages[0], *turns, *noted.messages[1:]))

    def _text(self, prompt: Conversation, shown: Sequence[Demonstration], ctx: RequestContext) -> Text:
        """Demonstrations and conversation as one raw prompt; without any, the paper's plain form of a question."""
        if not shown:
            ctx.step.degrade(ctx.step.reason)
        turns = turns_of(prompt, by="demonstrations")
        opening = (*_system(turns), *(piece for one in shown for piece in one.segments()), *_said(turns))
        temperature = self.config.temperature
        return Text(
            (*opening, *_answer(ANSWER if shown else BASELINE, prompt.prefill)),
            stops=(STOP,),
            answer="trimmed",
            sampling={} if temperature is None else {"temperature": temperature},
            asked=prompt.original,
        )


def _system(turns: Sequence[Turn]) -> Iterator[Segment]:
    """System texts, in front of all."""
    for turn in turns:
        if turn.speaker == "system":
            yield Segment("content", plain(turn.text))
            yield Segment("literal", "\n\n")


def _said(turns: Sequence[Turn]) -> Iterator[Segment]:
    """The conversation as questions and answers."""
    between = ""
    for turn in turns:
        if turn.speaker == "system":
            continue
        yield Segment("literal", f"{between}{QUESTION}" if turn.speaker == "user" else f"{ANSWER} ")
        yield Segment("content", plain(turn.text))
        between = "\n\n"


def _answer(lead: str, prefill: str | None) -> Iterator[Segment]:
    """The open answer, begun with the prefill."""
    yield Segment("literal", f"{lead} " if prefill else lead)
    if prefill:
        yield Segment("content", prefill)
