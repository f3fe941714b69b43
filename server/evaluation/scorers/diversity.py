"""How varied answers are, each in itself and all of an alignment together: distinct n-grams, repetition, compression.

All of these fall with the amount of text, whatever it says: compare alignments whose answers are about as long.
"""

import asyncio
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from trimtab.server.evaluation.scorers.base import About, Item, Verdict
from trimtab.server.evaluation.scorers.words import grams, words

REPEATED_N = 4
"""Length of the runs of words whose repetition is counted."""
COMPRESSION_LEVEL = 9


class DistinctConfig(BaseModel):
    """Which n-grams are counted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    n: Annotated[int, Field(ge=1, le=4)] = 2
    """Words in a run."""


class RepetitionConfig(BaseModel):
    """When an answer counts as caught in a loop: it ends in copies of one block."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    copies: Annotated[int, Field(ge=2)] = 3
    """Of the block, one directly after another."""
    loop_words: Annotated[int, Field(ge=2)] = 8
    """Words in all copies together, at least."""


@dataclass(frozen=True, slots=True)
class Distinct:
    """Distinct-n: different n-grams by n-grams, in (0, 1]; 1 = none comes twice.

    Source: Li et al. 2016, arXiv 1510.03055.
    Deviation: they count over all answers together, which is `all` in the summary; the value is that of one answer, so that
    it has an interval.
    """

    config: DistinctConfig = field(default_factory=DistinctConfig)

    @property
    def about(self) -> About:
        """What it measures."""
        n = self.config.n
        runs = "words" if n == 1 else f"runs of {n} words"
        return About(
            name=f"distinct_{n}",
            title=f"Distinct-{n}",
            better="neither",
            says=f"Different {runs} by all {runs} in the answer, 0 to 1; longer answers have less.",
            source="Li et al. 2016, arXiv 1510.03055",
        )

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """One verdict an item; an answer of fewer than n words is unscored."""
        return await asyncio.to_thread(lambda: [self._verdict(one.answer) for one in items])

    def _verdict(self, answer: str) -> Verdict:
        share = distinct([answer], self.config.n)
        return Verdict(share, None if share is not None else f"fewer than {self.config.n} words")

    def summary(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """`all`: different n-grams by n-grams, over all answers together; nothing where there are none."""
        share = distinct((one.answer for one in items), self.config.n)
        return {} if share is None else {"all": share}


@dataclass(frozen=True, slots=True)
class Repetition:
    """Share of an answer's 4-grams that were there before, in [0, 1). Details: `loops`, whether it ends in a loop.

    Source: Welleck et al. 2020, arXiv 1908.04319, seq-rep-4. Shaib et al. 2024, arXiv 2403.00553: the compression ratio.
    Deviation: words instead of tokens, so that models with other tokenisers compare. The loop is a rule of this project.
    """

    config: RepetitionConfig = field(default_factory=RepetitionConfig)

    @property
    def about(self) -> About:
        """What it measures."""
        return About(
            name="repetition",
            title="Repetition",
            better="lower",
            says="Share of the answer's runs of 4 words that it has already said, 0 to 1; longer answers have more.",
            source="Welleck et al. 2020, arXiv 1908.04319 (seq-rep-4)",
        )

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """One verdict an item; an answer of fewer than 4 words is unscored."""
        return await asyncio.to_thread(lambda: [self._verdict(one.answer) for one in items])

    def _verdict(self, answer: str) -> Verdict:
        share, loops = distinct([answer], REPEATED_N), ends_in_loop(answer, self.config)
        if share is None:
            return Verdict(None, f"fewer than {REPEATED_N} words", {"loops": loops})
        return Verdict(1.0 - share, details={"loops": loops})

    def summary(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """`looping`: share of answers that end in a loop; `compression_ratio` of all answers together, higher = more alike."""
        if not items:
            return {}
        ratio = compression_ratio([one.answer for one in items])
        looping = {"looping": fmean(bool(one.details.get("loops")) for one in verdicts)}
        return looping if ratio is None else {**looping, "compression_ratio": ratio}


def distinct(texts: Iterable[str], n: int) -> float | None:
    """Different n-grams by n-grams over all texts, none across two of them; None where there are no n-grams."""
    found = [gram for text in texts for gram in grams(words(text), n)]
    return len(set(found)) / len(found) if found else None


def ends_in_loop(text: str, config: RepetitionConfig) -> bool:
    """Whether the last words are `copies` or more copies of one block, `loop_words` or more in all."""
    tokens = words(text)
    return any(
        _periodic_tail(tokens, period) >= max(config.copies * period, config.loop_words)
        for period in range(1, len(tokens) // config.copies + 1)
    )


def _periodic_tail(tokens: Sequence[str], period: int) -> int:
    """How many of the last words are each the same as the one `period` before, that first block included."""
    at = len(tokens)
    while at > period and tokens[at - 1] == tokens[at - 1 - period]:
        at -= 1
    return len(tokens) - at + period


def compression_ratio(texts: Sequence[str]) -> float | None:
    """Bytes of the texts, a line each, by their bytes under DEFLATE at level 9; None where there is no text."""
    raw = "\n".join(texts).encode()
    return len(raw) / len(zlib.compress(raw, COMPRESSION_LEVEL)) if raw.strip() else None
