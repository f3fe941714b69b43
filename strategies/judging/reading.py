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
from trimtab.strategies.prompts.judge import LETTERS, Aspect, Layout, Letter, Question, ask, other

JudgeLayout = Literal["completion", "chat"]
MARGINS_TOLD = 100
"""Most margins in a full trace; a search has hundreds."""


@dataclass(frozen=True, slots=True)
class LetterPrompt:
    """The ids of a judge's prompt, and the letter of the good description in it."""

    ids: tuple[int, ...]
    good: Letter


@dataclass(frozen=True, slots=True)
class Alphabet:
    """What a judge's tokenizer makes of the parts of the prompt that are always the same."""

    letters: Letters
    prefix: tuple[int, ...]
    """Ids of introduction and worked cases; empty where the prompt has to be encoded as a whole."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Asks a judge with a tokens port for one letter."""

    tokens: TokensPort
    alphabet: Alphabet
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
        letters = self.alphabet.letters
        wanted = (letters.of(prompt.good), letters.of(other(prompt.good)))
        good, bad = await self.tokens.next_logprobs(prompt.ids, wanted, ctx.call("judge"))
        margin = good - bad
        if ctx.trace.level == "full":
            told = ctx.step.full.setdefault("judge_margins", [])
            if len(told) < MARGINS_TOLD:
                told.append({"good": prompt.good, "nats": round(margin, 4)})
        if math.isnan(margin):
            return None
        return 0.5 + 0.5 * math.tanh(margin / 2.0) if self.graded else float(margin > 0.0)

    def _ids(self, judged: Judged, good: Letter) -> tuple[int, ...]:
        alphabet = self.alphabet
        question = ask(self.aspect, judged.turns(self.turns), judged.answer, good, alphabet.letters.layout)
        if self.layout == "chat":
            asked = f"{question.prefix}{question.case}{question.options}"
            return self.tokens.encode_chat(_begun(asked, question.tail))
        if alphabet.prefix:
            return alphabet.prefix + self.tokens.encode_text(Text(_case(question), add_bos=False))
        return self.tokens.encode_text(Text((Segment("literal", question.prefix), *_case(question))))


def alphabet_of(tokens: TokensPort, aspect: Aspect, layout: JudgeLayout) -> Alphabet:
    """The constant parts for an engine's tokenizer. May block. Raises MissingCapability where no letter can be read."""
    letters = letters_in(tokens, layout)
    return Alphabet(letters, _prefix_ids(tokens, aspect, letters.layout) if layout == "completion" else ())


def letters_in(tokens: TokensPort, layout: JudgeLayout) -> Letters:
    """The letters of an engine's tokenizer. May block. Raises MissingCapability."""
    if layout == "completion":
        return letters_of(lambda tail: tokens.encode_text(Text((Segment("literal", tail),))))
    return letters_of(lambda tail: tokens.encode_chat(_begun("Which?", tail)))


def _prefix_ids(tokens: TokensPort, aspect: Aspect, layout: Layout) -> tuple[int, ...]:
    """The ids before any case, where a case is encoded behind them as it is alone; empty where it is not.

    The prefix is most of the prompt, and encoding it takes longer than a cached judgement on a small model.
    """
    probe = ask(aspect, [("user", "?")], "!", "A", layout)
    whole = tokens.encode_text(Text((Segment("literal", probe.prefix), *_case(probe))))
    case = tokens.encode_text(Text(_case(probe), add_bos=False))
    return whole[: -len(case)] if whole[-len(case) :] == case else ()


def _case(question: Question) -> tuple[Segment, ...]:
    """The part of the question that is not constant: the case is content, the descriptions behind it are ours."""
    return (Segment("content", question.case), Segment("literal", f"{question.options}{question.tail}"))


def _begun(asked: str, tail: str) -> Conversation:
    """The question as a user turn, its answer begun with the tail."""
    return Conversation((Message("user", asked),), prefill=tail)
