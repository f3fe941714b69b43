"""How a pairwise judge is heard: its letters' log-probabilities are read, or it writes a verdict that is parsed strictly."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trimtab.server.evaluation import prompts
from trimtab.server.evaluation.prompts import Turns
from trimtab.server.evaluation.reading import read_letters
from trimtab.server.evaluation.scorers.base import Chat, ScorerError
from trimtab.strategies.core.engine import Ports
from trimtab.strategies.core.messages import Text
from trimtab.strategies.prompts.judge import Layout

VERDICT_TOKENS = 512
"""Longest written verdict, its comparison included."""
SHOWN_CHARS = 2000
"""How much of what a judge wrote is kept."""
_VERDICT = re.compile(r"[*_`# ]*(?:(?:my |the )?(?:final )?verdict(?: is)?\W{0,4})?\[\[([ABC])\]\][*_`. ]*", re.IGNORECASE)
_WORTH = {"A": 1.0, "B": 0.0, "C": 0.5}


@dataclass(frozen=True, slots=True)
class Heard:
    """What a judge said of two answers in one order."""

    outcome: float | None
    """1 = the first answer is better, 0 = the second, 0.5 = neither; None = no verdict."""
    details: Mapping[str, Any] = field(default_factory=dict)


class PairVerdicts(Protocol):
    """A judge of pairs."""

    @property
    def name(self) -> str:
        """Which model, and how it is heard."""
        ...

    async def compare(self, turns: Turns, first: str, second: str) -> Heard:
        """Which of two answers is better, in this order. Raises as engines do."""
        ...


@dataclass(frozen=True, slots=True)
class ReadVerdicts:
    """Reads whether A or B is likelier behind a raw prompt with worked cases: one token, nothing to parse, no ties of its own.

    The form for small judges, which seldom write a verdict in the form that is asked for.
    Source: the readout of Li et al. 2023 (RAIN), arXiv 2309.07124, Appendix B, for pairs.
    """

    ports: Ports
    judge: str

    def __post_init__(self) -> None:
        if self.ports.tokens is None:
            raise ScorerError(f"the judge {self.judge} shows no log-probabilities of tokens; let it write its verdicts")

    @property
    def name(self) -> str:
        """Which model, and how it is heard."""
        return f"{self.judge} (letters read)"

    async def compare(self, turns: Turns, first: str, second: str) -> Heard:
        """The likelier letter."""

        async def prompt(layout: Layout) -> Text:
            return prompts.readable(turns, first, second, layout)

        a, b = await read_letters(self.ports, prompt, prompts.LAYOUTS, 2)
        margin = a - b
        if math.isnan(margin):
            return Heard(None, {"margin": None})
        return Heard(0.5 if margin == 0 else float(margin > 0), {"margin": round(margin, 4)})


@dataclass(frozen=True, slots=True)
class WrittenVerdicts:
    """Asks for a short comparison and a verdict on the last line; anything else than a verdict there is none.

    Source: Zheng et al. 2023, arXiv 2306.05685, section 3 (pairwise comparison, both orders).
    Deviation: the prompt is this project's own, and the verdict must stand on a line of its own at the end.
    """

    chat: Chat
    max_tokens: int = VERDICT_TOKENS
    seed: int = 0

    @property
    def name(self) -> str:
        """Which model, and how it is heard."""
        return f"{self.chat.name} (verdicts written)"

    async def compare(self, turns: Turns, first: str, second: str) -> Heard:
        """The verdict that was written."""
        asked = [{"role": "user", "content": prompts.written(turns, first, second)}]
        said = await self.chat.ask(asked, max_tokens=self.max_tokens, seed=self.seed)
        return Heard(outcome_of(said), {"said": said[-SHOWN_CHARS:]})


def outcome_of(said: str) -> float | None:
    """What the last line of a written verdict says: 1 for [[A]], 0 for [[B]], 0.5 for [[C]], None for anything else."""
    lines = [line for line in said.splitlines() if line.strip()]
    match = _VERDICT.fullmatch(lines[-1].strip()) if lines else None
    return _WORTH[match[1].upper()] if match else None
