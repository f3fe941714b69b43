"""Values out of scores: a reward model's number, or a classifier's log-odds, as a value between -1 and 1."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Ports
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import Conversation, Message
from trimtab.strategies.judging.remembered import Remembered
from trimtab.strategies.judging.source import ValueSource, check_role
from trimtab.strategies.judging.value import Judged, ValueFunction

ROLE = "reward"


class _ScoreSource(ValueSource):
    """What values of the reward engine's scores have in common."""

    def engine_roles(self) -> frozenset[str]:
        """The reward engine."""
        return frozenset({ROLE})

    def check(self, engines: Mapping[str, Ports], *, by: str, param: str = "alignment.strategy") -> None:
        """Raise where no engine scores."""
        check_role(engines, ROLE, "scores", by=by, value=self.kind, param=param)

    def cost(self, answers: int = 1) -> Cost:
        """One call, however many answers."""
        return Cost(calls=1)


class RewardConfig(_ScoreSource):
    """A reward model judges: the probability of its preferring the answer to one it scores `centre`, from -1 to 1."""

    kind: Literal["reward"] = "reward"
    centre: float = 0.0
    """Score whose value is 0, in the reward model's own unit."""
    scale: float = Field(default=1.0, gt=0.0)
    """Score difference, in the reward model's own unit, that moves the odds by the factor e."""

    def build(self) -> ValueFunction:
        """The reward engine's scores as values."""
        return Remembered(Scored(self.value_of, whole_conversation))

    def value_of(self, score: float) -> float:
        """2 sigmoid((score - centre) / scale) - 1: rises with the score, 0 at the centre."""
        return math.tanh((score - self.centre) / (2.0 * self.scale))


class ClassifierConfig(_ScoreSource):
    """A classifier judges: the probability of its label, from -1 to 1."""

    kind: Literal["classifier"] = "classifier"
    higher_is: Literal["better", "worse"] = "better"
    """Whether the classifier's label is a good one (harmless) or a bad one (toxic)."""
    reads: Literal["conversation", "answer"] = "conversation"
    """What the classifier is shown: the conversation with the answer, or the answer alone."""

    def build(self) -> ValueFunction:
        """The classifier's log-odds as values."""
        return Remembered(Scored(self.value_of, whole_conversation if self.reads == "conversation" else answer_alone))

    def value_of(self, score: float) -> float:
        """Twice the probability of the good label, less one; the score is the log-odds of the classifier's label."""
        return math.tanh(score / 2.0) * (1.0 if self.higher_is == "better" else -1.0)


def whole_conversation(judged: Judged) -> Conversation:
    """What was asked, with the answer as its last turn."""
    return Conversation((*judged.asked.messages, Message("assistant", judged.answer)))


def answer_alone(judged: Judged) -> Conversation:
    """The answer as the only turn."""
    return Conversation((Message("assistant", judged.answer),))


@dataclass(frozen=True, slots=True)
class Scored:
    """Asks the reward engine; all answers of a call in one batch."""

    value_of: Callable[[float], float]
    shown: Callable[[Judged], Conversation]

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        """One value an answer; None where the score is no number. Raises as engines do."""
        port = ctx.engine(ROLE).scores
        if port is None:
            raise MissingCapability("the engine of the role 'reward' gives no scores")
        scores = await port.score([self.shown(one) for one in judged], ctx.call(ROLE))
        if ctx.trace.level == "full":
            ctx.step.full.setdefault("scores", []).extend(scores)
        return tuple(None if math.isnan(score) else self.value_of(score) for score in scores)
