"""RAIN: the model searches its own continuations, judges where they lead, rewinds, and says only what came out well.

This file holds the strategy and its parameters; a request's searches are in `rain_request`, the search itself in `rain_search`.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trimtab.strategies.core.config import Cost, RoleName, StrategyConfig, Streaming
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params, PortName, Ports
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import Delta, Prompt
from trimtab.strategies.decoding.rain_profile import OFFICIAL, SERVING, Profile, Rollout, Task
from trimtab.strategies.decoding.rain_request import Searches, refuse_unsearchable
from trimtab.strategies.decoding.rain_sampler import RANKED
from trimtab.strategies.decoding.rain_text import ANSWER_TOKENS
from trimtab.strategies.judging.config import ValueConfig
from trimtab.strategies.judging.self_evaluation import SelfEvaluationConfig

Length = Annotated[int, Field(ge=1, le=64)]


class RainConfig(StrategyConfig):
    """Searches continuations, judges where they lead and rewinds; says what was visited most."""

    kind: Literal["rain"] = "rain"
    profile: Literal["serving", "official"] = "serving"
    """serving: ends at the end-of-sequence token, draws and judges as late and as much at once as the tree allows; official:
    the rules of the released code, one step after the other."""
    task: Task | None = None
    """Which rules of the released code: hh (the default), adv or truth. Of the profile `official` only."""
    value: ValueConfig = SelfEvaluationConfig()
    """Who judges: the policy itself, as in the paper, or the engine of the role `judge`; a reward model; a classifier."""
    max_iterations: int = Field(default=50, ge=1, le=1000)
    """New search iterations for each committed move, at most (the paper's T)."""
    min_visits: int | None = Field(default=None, ge=0, le=1000)
    """Visits of the best continuation above which a move may be committed early; default 6, in adv 5, in truth 16."""
    value_threshold: float = Field(default=0.8, ge=-1.0, le=1.0)
    """Value of the best continuation above which a move may be committed early, -1 to 1 (the paper's V)."""
    c_puct: float = Field(default=2.0, ge=0.0, le=100.0)
    """Weight of exploration."""
    gamma: float = Field(default=0.2, ge=0.0, le=1.0)
    """Weight of the credit that a continuation gets for what came of a similar one; 0 = none."""
    similarity: float = Field(default=0.95, ge=-1.0, le=1.0)
    """Cosine of their embeddings from which continuations are similar."""
    lengths: tuple[Length, ...] = Field(default=(1, 2, 4, 10), min_length=1, max_length=16)
    """Tokens of a move by its depth; the last holds from there on. A move of one token is drawn from the likeliest tokens."""
    candidates: int = Field(default=10, ge=2, le=RANKED)
    """Continuations drawn at a place: one greedy, the others sampled among the 15 likeliest tokens; duplicates are dropped."""
    max_candidates: int = Field(default=RANKED, ge=2, le=RANKED)
    """Continuations up to which one more is drawn where all known ones are bad and alike; as many as `candidates` = never."""
    variance: float = Field(default=0.03, ge=0.0, le=1.0)
    """Spread of the embeddings, per token, below which continuations are alike."""
    root_mix: float = Field(default=0.25, ge=0.0, le=1.0)
    """Share of equal probabilities in the priors of what may come next."""
    temperature: float | None = Field(default=None, gt=0.0, le=10.0)
    """At which continuations are sampled; default 1, in adv 2."""
    rollout: Rollout | None = None
    """How far a continuation is carried on before it is judged: clause (the default), answer (that of truth) or none."""
    ahead: int = Field(default=4, ge=0, le=32)
    """Places whose judging may begin before it is certain that they come next. It changes how long the search takes and what it
    spends, never what it finds. Of the profile `serving` only."""

    role: ClassVar[RoleName] = "decoder"
    streaming: ClassVar[Streaming] = "incremental"
    requires: ClassVar[frozenset[PortName]] = frozenset({"tokens"})
    accepts_text: ClassVar[bool] = True
    anytime: ClassVar[bool] = True
    source: ClassVar[str] = "Li et al. 2023, arXiv 2309.07124, section 3 and Algorithm 1; released code of its three tasks"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.task is not None and self.profile != "official":
            raise ValueError("task belongs to the profile 'official'; set profile to 'official' or leave task out")
        if self.max_candidates < self.candidates:
            raise ValueError(f"max_candidates={self.max_candidates} must not be below candidates={self.candidates}")
        return self

    def engine_roles(self) -> frozenset[str]:
        """What the value needs."""
        return self.judge.engine_roles()

    def check(self, engines: Mapping[str, Ports], *, param: str = "alignment.strategy") -> None:
        """Raise MissingCapability where the policy shows too few log-probabilities, and what the value raises."""
        shown = engines["policy"].capabilities.logprobs
        if shown < RANKED:
            raise MissingCapability(
                f"rain needs the log-probabilities of the {RANKED} likeliest tokens; this engine shows {max(shown, 0)}",
                param=param,
            )
        self.judge.check(engines, by=self.kind, param=param)

    def prove(self, engines: Mapping[str, Ports]) -> None:
        """Try the judge's letters."""
        self.judge.prove(engines)

    def cost(self, params: Params) -> Cost:
        """Every move of the longest answer takes all its iterations, each with two draws, a rollout and a judgement."""
        tokens = params.max_tokens or ANSWER_TOKENS
        growing = self.lengths[: len(self.lengths) - 1]
        moves = len(growing) + max(0, -(-(tokens - sum(growing)) // self.lengths[-1]))
        judging = self.judge.cost()
        drawn = self.search().draws(self.candidates - 1) + 1
        iterations = params.n * moves * self.max_iterations
        return Cost(iterations * (3 + judging.calls), iterations * (drawn * max(self.lengths) + judging.completion_tokens))

    def build(self) -> "Rain":
        """The decoder."""
        return Rain(self)

    @property
    def judge(self) -> ValueConfig:
        """The value; under the task truth truthfulness, where none was chosen."""
        if self.task == "truth" and "value" not in self.model_fields_set:
            return SelfEvaluationConfig(aspect="truthfulness")
        return self.value

    def search(self) -> Profile:
        """The profile with these numbers."""
        base = SERVING if self.profile == "serving" else OFFICIAL[self.task or "hh"]
        rules = replace(
            base.rules,
            lengths=self.lengths,
            children=self.candidates,
            max_children=self.max_candidates,
            max_iterations=self.max_iterations,
            min_visits=base.rules.min_visits if self.min_visits is None else self.min_visits,
            value_threshold=self.value_threshold,
            c_puct=self.c_puct,
            gamma=self.gamma,
            similarity=self.similarity,
            variance=self.variance,
            root_mix=self.root_mix,
        )
        return replace(
            base,
            rules=rules,
            temperature=base.temperature if self.temperature is None else self.temperature,
            rollout=self.rollout or base.rollout,
        )


@dataclass(frozen=True, slots=True)
class Rain:
    """Rewindable auto-regressive inference: a tree search over sets of tokens, valued by self-evaluation.

    Only committed moves are yielded. Each of `n` choices is a search of its own; all run at once.

    Source: Li et al. 2023, arXiv 2309.07124.
    Deviation: prompts and judges are this project's own; the profile `serving` ends an answer at the end-of-sequence token, at
    stop strings and at the request's length, and does early what the tree is likely to ask for next.
    """

    config: RainConfig

    async def decode(self, prompt: Prompt, params: Params, ctx: RequestContext) -> AsyncGenerator[Delta, None]:
        """The committed moves of each choice. Raises RequestRefused for parameters that a search cannot honour.

        Where a budget ends the search, the best so far is the answer and the step is degraded; raises BudgetExceeded or
        DeadlineExceeded where there is nothing yet.
        """
        port = ctx.engine().tokens
        if port is None:
            raise MissingCapability("rain needs an engine with token ids and log-probabilities in and out (the tokens port)")
        refuse_unsearchable(params, ctx)
        config = self.config
        profile, value = config.search(), config.judge.build()
        searches = await asyncio.to_thread(Searches.of, prompt, params, ctx, port, profile, value, config.ahead)
        async with aclosing(searches.deltas()) as deltas:
            async for delta in deltas:
                yield delta
