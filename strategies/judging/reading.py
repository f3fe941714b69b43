"""Reading a judge: the log-probabilities of the letters A and B behind its prompt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import TokensPort
from trimtab.strategies.core.messages import Conversation, Message, Segment, Text
from trimtab.strategies.judging.letters import Letters, letters_of
from trimtab.strategies.judging.value import Judged
from trimtab.strategies.prompts.judge import LETTERS, Aspect, Letter, Question, ask, other

JudgeLayout = Literal["completion", "chat"]


@dataclass(frozen=True, slots=True)
class LetterPrompt:
    """The ids of a judge's prompt, and the letter of the good description in it."""

    ids: tuple[int, ...]
    good: Letter


@dataclass(frozen=True, slots=True)
class Reader:
    """Asks a judge with a tokens port for one letter."""

    tokens: TokensPort
    letters: Letters
    aspect: Aspect
    layout: JudgeLayout
    turns: int
    graded: bool

    def prompts(self, judged: Sequence[Judged]) -> list[LetterPrompt]:
        """Both orders of each answer, in turn. May block: the tokenizer may be another server's."""
        return [LetterPrompt(self._ids(one, good), good) for one in judged for good in LETTERS]

    async def credit(self, prompt: LetterPrompt, ctx: RequestContext) -> float | None:
        """1 where the good description is strictly likelier, else 0; its share of both probabilities where graded.

        None where the judge's numbers are none.
        """
        wanted = (self.letters.of(prompt.good), self.letters.of(other(prompt.good)))
        good, bad = await self.tokens.next_logprobs(prompt.ids, wanted, ctx.call("judge"))
        margin = good - bad
        if ctx.trace.level == "full":
            ctx.step.full.setdefault("judge_margins", []).append({"good": prompt.good, "nats": round(margin, 4)})
        if math.isnan(margin):
            return None
        return 0.5 + 0.5 * math.tanh(margin / 2.0) if self.graded else float(margin > 0.0)

    def _ids(self, judged: Judged, good: Letter) -> tuple[int, ...]:
        question = ask(self.aspect, judged.turns(self.turns), judged.answer, good, self.letters.layout)
        return self.tokens.encode_text(_text(question)) if self.layout == "completion" else self._chat(question)

    def _chat(self, question: Question) -> tuple[int, ...]:
        return self.tokens.encode_chat(_begun(f"{question.prefix}{question.case}{question.options}", question.tail))


def letters_in(tokens: TokensPort, layout: JudgeLayout) -> Letters:
    """The letters of an engine's tokenizer. May block. Raises MissingCapability."""
    if layout == "completion":
        return letters_of(lambda tail: tokens.encode_text(Text((Segment("literal", tail),))))
    return letters_of(lambda tail: tokens.encode_chat(_begun("Which?", tail)))


def _text(question: Question) -> Text:
    """The question as a raw prompt: the case is content, the rest is ours."""
    return Text(
        (
            Segment("literal", question.prefix),
            Segment("content", question.case),
            Segment("literal", f"{question.options}{question.tail}"),
        )
    )


def _begun(asked: str, tail: str) -> Conversation:
    """The question as a user turn, its answer begun with the tail."""
    return Conversation((Message("user", asked),), prefill=tail)
