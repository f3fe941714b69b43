"""Doubles for revisers: a model that only continues raw prompts, values from a table, a corpus of given passages."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.strategies.doubles import ListEngine, said
from trimtab.retrieval.documents import Document, Filter, Hit
from trimtab.strategies.core.config import StrategyConfig
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Call, Params, Ports
from trimtab.strategies.core.messages import Conversation, Delta, Prompt, Text, Usage
from trimtab.strategies.judging.value import Judged
from trimtab.strategies.revising.critique_refine import CritiqueRefineConfig
from trimtab.strategies.revising.rounds import Revision


@dataclass
class Continuer:
    """Continues raw prompts from a list; remembers them."""

    answers: list[str]
    finish: str = "stop"
    asked: list[Text] = field(default_factory=list)
    params: list[Params] = field(default_factory=list)

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        self.asked.append(text)
        self.params.append(params)
        yield Delta(0, self.answers.pop(0), self.finish, token_ids=(1, 2))
        yield Delta(usage=Usage(20, 7, 0))

    @property
    def ports(self) -> Ports:
        return Ports(text=self)


@dataclass
class Cut(ListEngine):
    """A chat engine whose answers from the given turn on are cut off by their length."""

    cut_from: int = 0

    async def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        reason = "length" if len(self.asked) >= self.cut_from else "stop"
        self.asked.append(conversation)
        self.params.append(params)
        yield Delta(0, self.answers.pop(0), reason)
        yield Delta(usage=Usage(10, 5, 2))


@dataclass(frozen=True)
class Table:
    """A value function that knows the value of each text."""

    known: Mapping[str, float | None]
    asked: list[str] = field(default_factory=list)

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        self.asked.extend(one.answer for one in judged)
        return tuple(self.known[one.answer] for one in judged)


@dataclass(frozen=True)
class Passages:
    """Finds the same passages for every query."""

    texts: tuple[str, ...]
    queries: list[str] = field(default_factory=list)

    async def search(self, corpus: str, query: str, k: int, *, where: Filter | None = None) -> tuple[Hit, ...]:
        self.queries.append(query)
        documents = [Document(f"{corpus}-{place}", text) for place, text in enumerate(self.texts)]
        return tuple(Hit(document, document.text, 0.5) for document in documents)[:k]

    async def size(self, corpus: str) -> int:
        return len(self.texts)


async def revised(config: StrategyConfig, prompt: Prompt, draft: str, ctx: RequestContext) -> str:
    """The text of the revised draft."""
    pieces = [delta async for delta in config.build().revise(prompt, draft, ctx)]
    assert pieces[-1].finish_reason == "stop"
    return "".join(piece.text for piece in pieces)


QUESTION = said("How do I get a raise?")


def configured(**fields: Any) -> CritiqueRefineConfig:
    return CritiqueRefineConfig(**fields)


def under(ctx: RequestContext, table: Mapping[str, float | None], *, draft: str) -> Revision:
    """A revision that is held to a table of values."""
    return Revision(QUESTION, draft, "if_better", Table(table), ctx)


def contents(engine: ListEngine, call: int) -> list[str]:
    return [message.text for message in engine.asked[call].messages]
