"""Doubles of what scorers ask: items, a reward model, a judge, likelihoods; each remembers what it was asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.server.evaluation.records import Alignment, Generation
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import Item, Likelihood, Undefined
from trimtab.server.evaluation.scorers.verdicts import Heard

PLAIN, OTHER = Alignment(name="plain", spec="plain"), Alignment(name="value_prompt", spec="value_prompt")
SEARCH = Alignment(name="search", spec="best_of_n")
QUESTION = ({"role": "user", "content": "How do I ripen a pear?"},)


def item_of(
    answer: str = "words", baseline: str | None = None, *, sample: Sample | None = None, alignment: Alignment | None = None
) -> Item:
    """An answer, with the first alignment's where one is given."""
    asked = sample or Sample("s", QUESTION)
    alignment = alignment or (PLAIN if baseline is None else OTHER)
    against = None if baseline is None else Generation(alignment=PLAIN.name, sample=asked.id, answer=baseline)
    return Item(asked, alignment, Generation(alignment=alignment.name, sample=asked.id, answer=answer), against)


@dataclass
class GivenRewards:
    """Scores the last turn by a table."""

    table: Mapping[str, float]
    asked: list[list[Mapping[str, Any]]] = field(default_factory=list)

    async def score(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[float]:
        self.asked += [list(turns) for turns in conversations]
        return [self.table[turns[-1]["content"]] for turns in conversations]


@dataclass
class Preferring:
    """A judge that follows a rule."""

    rule: Callable[[str, str], float | None]
    name: str = "rule"
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def compare(self, turns: Sequence[tuple[str, str]], first: str, second: str) -> Heard:
        self.asked.append((first, second))
        return Heard(self.rule(first, second))


@dataclass
class GivenLikelihoods:
    """A table text -> (log-probability, tokens); undefined under alignments named `search`."""

    table: Mapping[str, tuple[float, int]]
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def logps(
        self, alignment: Alignment, messages: Sequence[Mapping[str, Any]], completions: Sequence[str]
    ) -> Sequence[Likelihood]:
        if alignment.name == "search":
            raise Undefined("search searches")
        self.asked.append((alignment.name, tuple(completions)))
        return [Likelihood(*self.table[text]) for text in completions]

    async def text_logps(self, texts: Sequence[str]) -> Sequence[Likelihood]:
        self.asked.append(("", tuple(texts)))
        return [Likelihood(*self.table[text]) for text in texts]
