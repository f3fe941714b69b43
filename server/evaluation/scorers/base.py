"""What a scorer is: answers in, one number each out, or the reason why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from trimtab.server.evaluation.records import Alignment, Generation
from trimtab.server.evaluation.samples import Sample


@dataclass(frozen=True, slots=True)
class About:
    """What a reader of a report has to know about a scorer."""

    name: str
    """As on the command line."""
    title: str
    """A column's head."""
    better: Literal["higher", "lower", "neither"]
    says: str
    """One sentence: what the number is, its range and unit."""
    source: str = ""
    """Paper or library."""
    compares: bool = False
    """Whether each value compares the answer with the first alignment's: 1 won, 0.5 tied, 0 lost."""
    of_preference: bool = False
    """Whether it claims to say which of two answers people would prefer."""
    of_policy: bool = False
    """Whether it asks the model under an alignment, not its answer."""


@dataclass(frozen=True, slots=True)
class Item:
    """An answer to score."""

    sample: Sample
    alignment: Alignment
    generation: Generation
    baseline: Generation | None = None
    """The first alignment's answer to the same sample; None where this is it."""

    @property
    def answer(self) -> str:
        """The text, empty where there is none."""
        return self.generation.answer or ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A number, or why there is none. A number is finite: NaN is made unscored."""

    value: float | None
    unscored: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Scorer(Protocol):
    """Scores answers, many at once."""

    @property
    def about(self) -> About:
        """What it measures."""
        ...

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """One verdict an item, in order. Items whose generation failed are not given."""
        ...


@runtime_checkable
class Summarising(Protocol):
    """A scorer that also says something about all its verdicts together, e.g. a judge's position bias."""

    def summary(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """Name -> number, over the items of one alignment."""
        ...


class ScorerError(Exception):
    """A scorer cannot work here at all: a missing model, library or column; the message says what to do."""


class Rewards(Protocol):
    """A reward model or classifier."""

    async def score(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[float]:
        """One number a conversation, whose last turn is the answer; higher is better."""
        ...


class Chat(Protocol):
    """A model that is asked, e.g. a judge."""

    @property
    def name(self) -> str:
        """Which model."""
        ...

    async def ask(self, messages: Sequence[Mapping[str, Any]], *, max_tokens: int, seed: int) -> str:
        """Its greedy answer."""
        ...


class Likelihoods(Protocol):
    """The policy under an alignment, as far as that only shapes the prompt."""

    async def logps(
        self, alignment: Alignment, messages: Sequence[Mapping[str, Any]], completions: Sequence[str]
    ) -> Sequence["Likelihood"]:
        """Of each completion after the shaped prompt. Raises Undefined for an alignment that decodes or revises."""
        ...

    async def text_logps(self, texts: Sequence[str]) -> Sequence["Likelihood"]:
        """Of raw texts, without any prompt or alignment."""
        ...


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a text is."""

    logp: float
    """Sum over its tokens, in nats."""
    tokens: int


class Undefined(Exception):
    """An alignment under which a text has no likelihood: it searches or revises."""
