"""Asking a judge that shows no log-probabilities: it writes its letter, and anything but a letter is no verdict."""

import re
from contextlib import aclosing
from dataclasses import dataclass

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import MessagesPort, Params
from trimtab.strategies.core.messages import Conversation, Message
from trimtab.strategies.judging.value import Judged
from trimtab.strategies.prompts.judge import PARENTHESIS, VERDICT_REQUEST, Aspect, Letter, ask

VERDICT_TOKENS = 8
"""Longest verdict, in tokens."""
_LETTER = re.compile(r"\(?([AB])[).]{0,2}")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Asks a judge by chat, at temperature 0. The reduced form of reading it."""

    messages: MessagesPort
    aspect: Aspect
    turns: int

    async def credit(self, judged: Judged, good: Letter, ctx: RequestContext) -> float | None:
        """1 where the verdict is the letter of the good description, 0 where it is the other one, None where it is neither."""
        question = ask(self.aspect, judged.turns(self.turns), judged.answer, good, PARENTHESIS)
        asked = f"{question.prefix}{question.case}{question.options}\n{VERDICT_REQUEST}"
        params = Params(max_tokens=VERDICT_TOKENS, temperature=0.0)
        pieces: list[str] = []
        stream = self.messages.chat(Conversation((Message("user", asked),)), params, ctx.call("judge"))
        async with aclosing(stream):
            async for delta in stream:
                pieces.append(delta.text)
        return credit_of("".join(pieces), good)


def credit_of(verdict: str, good: Letter) -> float | None:
    """What a written verdict counts: nothing but `A`, `(A)`, `A.` and the like is one."""
    match = _LETTER.fullmatch(verdict.strip())
    return None if match is None else float(match[1] == good)
