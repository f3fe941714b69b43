"""Whether a text keeps rules, as a judge's letters say: each rule with both orders of the descriptions, two calls a rule."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from trimtab.server.evaluation.norm_prompts import asked
from trimtab.server.evaluation.scorers.asking import all_of
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.errors import ConfigError, EngineUnavailable, StrategyError
from trimtab.strategies.judging.readout import read_choice
from trimtab.strategies.prompts.judge import LAYOUTS, LETTERS, Layout, Letter, other

AT_ONCE = 16
"""Rules that are read at once."""
CONTRADICTS = "the judge says one thing of both orders: it prefers a letter"


@dataclass(frozen=True, slots=True)
class Case:
    """What is held against rules."""

    question: str
    """What was asked, empty where nothing was."""
    answer: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Whether a text keeps a rule."""

    kept: bool | None
    """None = no verdict."""
    probability: float | None
    """That it keeps the rule, as the judge has it, mean of both orders."""
    unscored: str | None = None
    """Why there is no verdict."""


async def read_rules(rules: Sequence[str], case: Case, ctx: RequestContext, *, role: str) -> list[Kept]:
    """One verdict a rule, in order, by the engine of a role. What it refuses or cannot read is unscored with its reason.

    Raises EngineUnavailable where the engine is gone.
    """
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(rule: str) -> Kept:
        async with turn:
            return await _rule(rule, case, ctx, role)

    return await all_of([one(rule) for rule in rules])


async def _rule(rule: str, case: Case, ctx: RequestContext, role: str) -> Kept:
    try:
        margins = await all_of([_margin(rule, case, first, ctx, role) for first in LETTERS])
    except EngineUnavailable:
        raise
    except StrategyError as error:
        return Kept(None, None, str(error) or type(error).__name__)
    if any(math.isnan(margin) for margin in margins):
        return Kept(None, None, "the judge's numbers are none")
    probability = round(fmean(0.5 + 0.5 * math.tanh(margin / 2) for margin in margins), 4)
    first, second = margins
    if (first > 0) != (second > 0):
        return Kept(None, probability, CONTRADICTS)
    return Kept(first > 0, probability)


async def _margin(rule: str, case: Case, first: Letter, ctx: RequestContext, role: str) -> float:
    """By how many nats `keeps` is likelier than `breaks`, behind the letter `first`."""
    for layout in LAYOUTS[:-1]:
        try:
            return await _read(rule, case, first, layout, ctx, role)
        except ConfigError as error:
            if error.param != "choices":
                raise
    return await _read(rule, case, first, LAYOUTS[-1], ctx, role)


async def _read(rule: str, case: Case, first: Letter, layout: Layout, ctx: RequestContext, role: str) -> float:
    letters = [f"{layout.before}{letter}" for letter in (first, other(first))]
    keeps, breaks = (
        await read_choice(asked(rule, case.question, case.answer, first, layout), letters, ctx, role=role)
    ).logprobs
    return keeps - breaks
