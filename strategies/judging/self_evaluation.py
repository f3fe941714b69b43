"""Self-evaluation: a language model says which of two descriptions fits an answer, asked with both orders of them."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Ports, TokensPort
from trimtab.strategies.core.errors import BudgetExceeded, ContextLengthExceeded, DeadlineExceeded, MissingCapability
from trimtab.strategies.core.metering import in_time
from trimtab.strategies.judging.reading import Alphabet, JudgeLayout, LetterPrompt, Reader, alphabet_of, letters_in
from trimtab.strategies.judging.remembered import Remembered
from trimtab.strategies.judging.source import ValueSource
from trimtab.strategies.judging.value import Judged, ValueFunction
from trimtab.strategies.judging.verdicts import VERDICT_TOKENS, Verdicts
from trimtab.strategies.prompts.judge import LETTERS, Aspect

ROLE = "judge"
REDUCED = "judged in a reduced form: the judge's engine shows no log-probabilities, so its written verdicts were read"
TOO_LONG = "left an answer unscored: with the judge's prompt it does not fit the judge's context window"

Spent = BudgetExceeded | DeadlineExceeded
Outcome = float | Spent | None
"""What one order counts; None where nothing could be read."""


class SelfEvaluationConfig(ValueSource):
    """A language model judges: the engine of the role `judge`, or the policy itself where there is none.

    Source: Li et al. 2023 (RAIN), arXiv 2309.07124, section 3 and Appendix B; released code, 10-shot judge of its HH folder.
    """

    kind: Literal["self_evaluation"] = "self_evaluation"
    aspect: Aspect = "harmlessness"
    """What is judged."""
    graded: bool = False
    """Whether the letters' probabilities count, not only which is larger: values between -1, 0 and 1 too. Not in the paper."""
    layout: JudgeLayout = "completion"
    """completion: the judge continues a raw prompt; chat: the prompt is a user turn, and the judge's answer is begun for it."""
    turns: int = Field(default=1, ge=1, le=64)
    """How many of the user's last turns the judge is shown, with the answers between them."""

    def check(self, engines: Mapping[str, Ports], *, by: str, param: str = "alignment.strategy") -> None:
        """Raise MissingCapability where the judge can neither be read nor asked."""
        judge = engines.get(ROLE) or engines["policy"]
        if not self.reads(judge) and (judge.messages is None or self.graded):
            raise MissingCapability(
                f"{by} with the value 'self_evaluation' needs the {'tokens' if self.graded else 'tokens or messages'} port "
                f"of its judge; the judge's engine has {', '.join(sorted(judge.names()))}",
                param=param,
            )

    def prove(self, engines: Mapping[str, Ports]) -> None:
        """Derive the letters' ids from the judge's tokenizer."""
        judge = engines.get(ROLE) or engines["policy"]
        if judge.tokens is not None and self.reads(judge):
            letters_in(judge.tokens, self.layout)

    def reads(self, judge: Ports) -> bool:
        """Whether the judge's log-probabilities are read; otherwise its written verdicts are."""
        return judge.tokens is not None and (self.layout == "completion" or judge.messages is not None)

    def cost(self, answers: int = 1) -> Cost:
        """Two calls an answer, one for each order of the descriptions."""
        return Cost(2 * answers, 2 * answers * VERDICT_TOKENS)

    def build(self) -> ValueFunction:
        """The judge."""
        return Remembered(SelfEvaluation(self))


@dataclass(slots=True)
class SelfEvaluation:
    """2 mean - 1 over both orders of the descriptions, where an order counts 1 if the good description is strictly likelier.

    So a judge that always says the same letter values everything 0, and so does a text that talks it into a letter.

    Source: as SelfEvaluationConfig; released code `getv` of its HH folder.
    Deviation: prompt and cases are this project's own, content is quoted line by line, the judge may be another model.
    """

    config: SelfEvaluationConfig
    _alphabet: Alphabet | None = None

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        """-1, 0 or 1 an answer (anything between where graded); None where a letter lacked or an answer was too long."""
        if self.config.aspect == "harmlessness" and (caution := ctx.cautions.get(ROLE)):
            ctx.trace.warn(f"{ctx.step.strategy}: {caution}")
        orders = await self.orders(judged, ctx)
        values = tuple(_value(*pair) for pair in orders)
        spent = next((outcome for pair in orders for outcome in pair if isinstance(outcome, Spent)), None)
        if spent is not None and all(value is None for value in values):
            raise spent
        return values

    async def orders(self, judged: Sequence[Judged], ctx: RequestContext) -> list[tuple[Outcome, Outcome]]:
        """What each order counted, the good description behind A and then behind B. All are asked at once."""
        judge = ctx.engine(ROLE)
        if judge.tokens is not None and self.config.reads(judge):
            reader, prompts = await in_time(asyncio.to_thread(self._prepared, judge.tokens, judged), ctx.budget)
            return await _pairs([reader.credit(prompt, ctx) for prompt in prompts], ctx)
        if judge.messages is None or self.config.graded:
            raise MissingCapability("self-evaluation needs a judge that shows log-probabilities or answers conversations")
        ctx.step.degrade(REDUCED)
        ctx.trace.warn(f"{ctx.step.strategy} {REDUCED}")
        verdicts = Verdicts(judge.messages, self.config.aspect, self.config.turns)
        return await _pairs([verdicts.credit(one, good, ctx) for one in judged for good in LETTERS], ctx)

    def _prepared(self, tokens: TokensPort, judged: Sequence[Judged]) -> tuple[Reader, list[LetterPrompt]]:
        """The judge, its alphabet derived once a request, and what it is asked. May block."""
        how = self.config
        self._alphabet = self._alphabet or alphabet_of(tokens, how.aspect, how.layout)
        reader = Reader(tokens, self._alphabet, how.aspect, how.layout, how.turns, how.graded)
        return reader, reader.prompts(judged)


async def _pairs(orders: Sequence[Awaitable[float | None]], ctx: RequestContext) -> list[tuple[Outcome, Outcome]]:
    """The outcomes of orders that follow each other in pairs."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_outcome(order, ctx)) for order in orders]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    outcomes = [task.result() for task in tasks]
    return list(zip(outcomes[::2], outcomes[1::2], strict=True))


async def _outcome(order: Awaitable[float | None], ctx: RequestContext) -> Outcome:
    """What asking one order came to; a spent budget is an outcome, so that the other orders are still heard."""
    try:
        return await order
    except ContextLengthExceeded:
        ctx.trace.warn(f"{ctx.step.strategy} {TOO_LONG}")
        return None
    except (BudgetExceeded, DeadlineExceeded) as error:
        return error


def _value(one: Outcome, other: Outcome) -> float | None:
    """The value out of both orders' credits, None where one has none."""
    return one + other - 1.0 if isinstance(one, float) and isinstance(other, float) else None
