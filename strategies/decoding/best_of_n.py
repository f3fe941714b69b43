"""Best of n: several answers are drawn, a value function judges them, the best one is given."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from trimtab.strategies.core.config import Cost, RoleName, StrategyConfig, Streaming
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params, PortName, Ports
from trimtab.strategies.core.errors import BudgetExceeded, DeadlineExceeded, RequestRefused
from trimtab.strategies.core.messages import Conversation, Delta, Message, Prompt
from trimtab.strategies.decoding.plain import Plain
from trimtab.strategies.judging.config import ValueConfig
from trimtab.strategies.judging.self_evaluation import SelfEvaluationConfig
from trimtab.strategies.judging.value import Judged

MOST_DRAWS = 128
"""Answers one engine call can be asked for."""
TEMPERATURE = 1.0
"""Of the draws where the request asks for greedy decoding: equal draws would leave no choice."""


class BestOfNConfig(StrategyConfig):
    """Draws several answers and gives the one that is judged best."""

    kind: Literal["best_of_n"] = "best_of_n"
    n: int = Field(default=4, ge=2, le=64)
    """Answers drawn for each choice."""
    value: ValueConfig = Field(default_factory=SelfEvaluationConfig)
    """What judges them; by default the engine of the role `judge`, or the policy itself where there is none."""
    temperature: float | None = Field(default=None, gt=0.0, le=2.0)
    """Of the draws; default the request's own, or 1 where that is 0."""

    role: ClassVar[RoleName] = "decoder"
    streaming: ClassVar[Streaming] = "buffered"
    accepts_text: ClassVar[bool] = True
    source: ClassVar[str] = "Nakano et al. 2021 (WebGPT), arXiv 2112.09332, rejection sampling"

    def needs(self) -> frozenset[PortName]:
        """What the value needs of the policy."""
        return self.value.needs()

    def engine_roles(self) -> frozenset[str]:
        """What the value needs beside the policy."""
        return self.value.engine_roles()

    def check(self, engines: Mapping[str, Ports], *, param: str = "alignment.strategy") -> None:
        """Raise MissingRole or MissingCapability where nobody can judge."""
        self.value.check(engines, by=self.kind, param=param)

    def prove(self, engines: Mapping[str, Ports]) -> None:
        """Try the judge's tokenizer."""
        self.value.prove(engines)

    def cost(self, params: Params) -> Cost:
        """All draws come from one call, which the plain answer would take too; each of them may have to be judged."""
        draws = params.n * self.n
        return Cost(0, (draws - params.n) * (params.max_tokens or 0)) + self.value.cost(draws)

    def build(self) -> "BestOfN":
        """The decoder."""
        return BestOfN(self)


@dataclass(slots=True)
class Candidate:
    """One drawn answer."""

    deltas: list[Delta] = field(default_factory=list)
    value: float | None = None
    """None where it is unscored."""

    @property
    def text(self) -> str:
        """All that it says."""
        return "".join(delta.text for delta in self.deltas)

    @property
    def finish_reason(self) -> str | None:
        """None where it was cut off."""
        return next((delta.finish_reason for delta in reversed(self.deltas) if delta.finish_reason), None)

    @property
    def calls_tools(self) -> bool:
        """Whether it asks for a tool."""
        return any("tool_calls" in delta.fields for delta in self.deltas)

    @property
    def judgeable(self) -> bool:
        """Whether it holds a text that can be judged as an answer."""
        return not self.calls_tools and bool(self.text.strip())

    @property
    def tokens(self) -> int:
        """Tokens it consists of, as far as the engine shows them."""
        return sum(len(delta.token_ids) for delta in self.deltas)


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Draws in one engine call and judges all at once; the highest value wins, the first drawn where several have it.

    Unscored answers rank behind all others. Where the first draw calls a tool it is kept: a call is no text to be judged.
    Source: Nakano et al. 2021 (WebGPT), arXiv 2112.09332, "rejection sampling (best-of-n)".
    Deviation: the value function may be a judging language model, by default the policy itself.
    """

    config: BestOfNConfig

    async def decode(self, prompt: Prompt, params: Params, ctx: RequestContext) -> AsyncGenerator[Delta, None]:
        """The best answer of each choice, as the engine gave it. Raises as engines do where a choice has no whole draw."""
        groups = await self._drawn(prompt, self._sampling(params), ctx)
        await self._judge([one for group in groups for one in group if one.judgeable], prompt, ctx)
        chosen = [_best(group) for group in groups]
        self._tell(groups, chosen, ctx)
        for index, best in enumerate(chosen):
            for delta in best.deltas:
                yield replace(delta, index=index)

    def _sampling(self, params: Params) -> Params:
        """The request's own sampling, for the draws of all its choices. Raises RequestRefused for too many."""
        draws = params.n * self.config.n
        if draws > MOST_DRAWS:
            raise RequestRefused(
                f"n is {params.n}, and best_of_n draws {self.config.n} answers for each: {draws} in all; "
                f"at most {MOST_DRAWS} are allowed",
                param="n",
            )
        temperature = self.config.temperature or (TEMPERATURE if params.temperature == 0.0 else params.temperature)
        return replace(params, n=draws, temperature=temperature)

    async def _drawn(self, prompt: Prompt, params: Params, ctx: RequestContext) -> list[list[Candidate]]:
        """The draws of each choice in order. Where budget or deadline ends the drawing, those that are whole."""
        drawn, size = [Candidate() for _ in range(params.n)], self.config.n
        groups = [drawn[start : start + size] for start in range(0, params.n, size)]
        stream = Plain().decode(prompt, params, ctx)
        try:
            async with aclosing(stream):
                async for delta in stream:
                    if delta.usage is None:
                        drawn[delta.index].deltas.append(delta)
        except (BudgetExceeded, DeadlineExceeded) as error:
            groups = [[one for one in group if one.finish_reason is not None] for group in groups]
            if not all(groups):
                raise
            _lessen(ctx, f"fewer answers were drawn: {error}")
        return groups

    async def _judge(self, candidates: Sequence[Candidate], prompt: Prompt, ctx: RequestContext) -> None:
        """Give each candidate its value; none where budget or deadline ended the judging."""
        asked = _asked(prompt)
        judged = [Judged(asked, f"{asked.prefill or ''}{one.text}") for one in candidates]
        try:
            values = await self.config.value.build().values(judged, ctx) if judged else ()
        except (BudgetExceeded, DeadlineExceeded) as error:
            _lessen(ctx, f"no answer was judged, the first one is given: {error}")
            return
        for one, value in zip(candidates, values, strict=True):
            one.value = value
        unscored = sum(value is None for value in values)
        if unscored:
            rest = "the first one is given" if unscored == len(values) else "they rank behind the others"
            _lessen(ctx, f"{unscored} of {len(values)} answers could not be judged; {rest}")

    def _tell(self, groups: Sequence[Sequence[Candidate]], chosen: Sequence[Candidate], ctx: RequestContext) -> None:
        """The trace: each choice's values and which draw it became; texts at full level. And what the answers alone used."""
        ctx.step.note(drawn=sum(map(len, groups)), value=self.config.value.kind)
        told = [
            {
                "values": [None if one.value is None else round(one.value, 4) for one in group],
                "chosen": next(place for place, one in enumerate(group) if one is best),
            }
            for group, best in zip(groups, chosen, strict=True)
        ]
        ctx.step.note(**told[0] if len(told) == 1 else {"choices": told})
        ctx.step.note_full(candidates=[[_shown(one) for one in group] for group in groups])
        if not any(one.judgeable for group in groups for one in group):
            ctx.step.skip("tool call" if chosen[0].calls_tools else "empty answers")
        policy = ctx.step.meter("policy")
        policy.last = replace(policy.last, completion_tokens=sum(one.tokens for one in chosen) or policy.last.completion_tokens)


def _best(group: Sequence[Candidate]) -> Candidate:
    """The candidate of the highest value, the earliest of several; the first one where it calls a tool or none is scored."""
    scored = [one for one in group if one.value is not None]
    return group[0] if group[0].calls_tools or not scored else max(scored, key=_value)


def _value(candidate: Candidate) -> float:
    return -1.0 if candidate.value is None else candidate.value


def _asked(prompt: Prompt) -> Conversation:
    """The conversation whose answer is judged; a raw prompt that came from none is taken for a question."""
    if isinstance(prompt, Conversation):
        return prompt.original
    return prompt.asked or Conversation((Message("user", prompt.text),))


def _lessen(ctx: RequestContext, reason: str) -> None:
    ctx.step.degrade(reason)
    ctx.trace.warn(f"{ctx.step.strategy}: {reason}")


def _shown(candidate: Candidate) -> dict[str, Any]:
    return {"text": candidate.text, "value": candidate.value, "finish_reason": candidate.finish_reason}
