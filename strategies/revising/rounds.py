"""The rounds of a revision: the answer in force, what may replace it, and an account of each round."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.messages import Conversation, Usage
from trimtab.strategies.judging.value import Judged, ValueFunction
from trimtab.strategies.prompts.critiques import IMPROVE, KEEP
from trimtab.strategies.revising.dialogue import MARKS
from trimtab.strategies.revising.edits import diff
from trimtab.strategies.revising.gathered import Gathered, refusal
from trimtab.strategies.revising.policy import breaks_form
from trimtab.strategies.revising.separators import cut

Accept = Literal["always", "if_better"]

DELIMITERS: Final = (*MARKS, "CritiqueRequest:", "RevisionRequest:", KEEP, IMPROVE)
"""None of these is left in a revision: the text before the first is the revision."""
MISPLACED: Final = "it holds a delimiter"
_VERDICT = re.compile(r"Verdict: (keep|improve)")


def verdict_of(critique: str) -> Literal["keep", "improve"] | None:
    """What the last line of a critique says, to the letter; None where it is no verdict."""
    lines = critique.strip().splitlines()
    match = _VERDICT.fullmatch(lines[-1].strip()) if lines else None
    return None if match is None else "keep" if match[1] == "keep" else "improve"


@dataclass(slots=True)
class Round:
    """What one round did."""

    shown: dict[str, Any] = field(default_factory=dict)
    """For the summary."""
    texts: dict[str, Any] = field(default_factory=dict)
    """For a full trace, beside what the summary shows."""

    def note(self, **details: Any) -> None:
        """Record what the summary shows."""
        self.shown.update(details)

    def note_full(self, **details: Any) -> None:
        """Record what only a full trace shows."""
        self.texts.update(details)


@dataclass(slots=True)
class Revision:
    """One draft under revision."""

    asked: Conversation
    """What the user asked."""
    draft: str
    accept: Accept
    value: ValueFunction | None
    ctx: RequestContext
    answer: Gathered = field(init=False)
    """The answer in force: the draft, until something takes its place."""
    worth: float | None = field(default=None, init=False)
    """The value of the answer in force, where it was asked for."""
    rounds: list[Round] = field(default_factory=list, init=False)
    spent: Usage | None = field(default=None, init=False)
    """What the call used whose answer is in force; None for the draft."""
    _valued: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.answer = Gathered(self.draft, "stop")

    def begin(self) -> Round:
        """A new round."""
        self.rounds.append(Round())
        return self.rounds[-1]

    async def value_of(self, answer: str) -> float | None:
        """The value of an answer, -1 to 1; None where there is no verifier or it gave no judgement."""
        if self.value is None:
            return None
        whole = f"{self.asked.prefill or ''}{answer}"
        return (await self.value.values([Judged(self.asked, whole)], self.ctx))[0]

    async def own_value(self) -> float | None:
        """The value of the answer in force, asked for once."""
        if not self._valued:
            self.worth, self._valued = await self.value_of(self.answer.text), True
        return self.worth

    def cleaned(self, new: Gathered) -> Gathered:
        """A revision without blank space around it, and without what begins with a delimiter.

        Where the draft itself holds delimiters, where a revision ends cannot be told by them: then nothing is cut.
        """
        text = new.text if self._is_marked(self.draft) else cut(new.text, DELIMITERS)
        return new.said(text.strip())

    async def offer(self, new: Gathered, past: str, round_: Round) -> bool:
        """Take a cleaned revision of `past` as the answer unless it cannot be one or, where that counts, is no better."""
        reason, spent = self.unfit(new, past), self.ctx.step.meter("policy").last
        if self.ctx.trace.level == "full":
            round_.note_full(revision=new.text, diff=diff(past, new.text))
        if reason is None and self.accept == "if_better":
            reason = await self._no_better(new, round_)
        round_.note(accepted=reason is None, **({"reason": reason} if reason else {}))
        if reason is None:
            self.answer, self.spent = new, spent
            self._valued = self.accept == "if_better"
        return reason is None

    def unfit(self, new: Gathered, past: str) -> str | None:
        """Why a text can be no answer at all."""
        if reason := refusal(new, past):
            return reason
        if self._is_marked(new.text):
            return MISPLACED
        return "not in the form that was asked for" if breaks_form(new.text, self.ctx.params) else None

    @staticmethod
    def _is_marked(text: str) -> bool:
        return any(delimiter in text for delimiter in DELIMITERS)

    async def _no_better(self, new: Gathered, round_: Round) -> str | None:
        """Why a revision does not beat the answer in force; None where it does, and its value is then that of the answer."""
        if new.text == self.answer.text:
            return "unchanged"
        before, after = await self.own_value(), await self.value_of(new.text)
        round_.note(value=after, value_before=before)
        if before is None or after is None:
            return "unscored"
        if after <= before:
            return "no better"
        self.worth = after
        return None

    def account(self) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """The rounds as the summary shows them, and as a full trace does."""
        return [one.shown for one in self.rounds], [{**one.shown, **one.texts} for one in self.rounds]
