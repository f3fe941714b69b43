"""Corpora in memory, whose passages have the scores a test gives them, and engines that say given pieces."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.retrieval.documents import Document, Filter, Hit
from trimtab.server.engines.stops import StopText
from trimtab.strategies.core.engine import Call, Params
from trimtab.strategies.core.errors import CorpusNotFound
from trimtab.strategies.core.messages import Delta, Text, Usage


def hit(id: str, text: str, score: float, *, chunk: int = 0, **metadata: Any) -> Hit:
    return Hit(Document(id, text, metadata), text, score, chunk)


@dataclass
class ListCorpora:
    """Corpora whose ranking is the given one, whatever is asked; remembers the searches."""

    corpora: Mapping[str, Sequence[Hit]]
    asked: list[tuple[str, str, int, Filter | None]] = field(default_factory=list)

    async def search(self, corpus: str, query: str, k: int, *, where: Filter | None = None) -> tuple[Hit, ...]:
        self.asked.append((corpus, query, k, where))
        admitted = [one for one in self._hits(corpus) if where is None or where.admits(one.document)]
        return tuple(sorted(admitted, key=lambda one: -one.score)[:k])

    async def size(self, corpus: str) -> int:
        return len({one.document.id for one in self._hits(corpus)})

    def _hits(self, corpus: str) -> Sequence[Hit]:
        if corpus not in self.corpora:
            raise CorpusNotFound(f"no corpus is called {corpus!r}")
        return self.corpora[corpus]


@dataclass
class WordCorpora:
    """One corpus that changes while it is used; passages are ranked by the share of the query's words that they hold."""

    documents: dict[str, Document] = field(default_factory=dict)

    def put(self, id: str, text: str, **metadata: Any) -> None:
        self.documents[id] = Document(id, text, metadata)

    async def search(self, corpus: str, query: str, k: int, *, where: Filter | None = None) -> tuple[Hit, ...]:
        wanted = set(query.casefold().split())
        admitted = [one for one in self.documents.values() if where is None or where.admits(one)]
        hits = [Hit(one, one.text, len(wanted & set(one.text.casefold().split())) / len(wanted)) for one in admitted]
        return tuple(sorted(hits, key=lambda one: (-one.score, one.document.id))[:k])

    async def size(self, corpus: str) -> int:
        return len(self.documents)


@dataclass
class RawEngine:
    """A text port that says a given answer in given pieces, and remembers what it was asked."""

    pieces: Sequence[str]
    asked: list[Text] = field(default_factory=list)
    params: list[Params] = field(default_factory=list)

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        self.asked.append(text)
        self.params.append(params)
        for index in range(params.n):
            for piece in self.said((*params.stop, *text.stops)):
                yield Delta(index, piece, token_ids=(1,))
            yield Delta(index, "", "stop")
        yield Delta(usage=Usage(9, len(self.pieces)))

    def said(self, stops: tuple[str, ...]) -> Iterator[str]:
        yield from self.pieces


class StoppingEngine(RawEngine):
    """Ends its answer at the first stop string, as the engines do: what may begin one is held back until it is clear."""

    def said(self, stops: tuple[str, ...]) -> Iterator[str]:
        shown = StopText(stops)
        for piece in self.pieces:
            text, ended = shown.push(piece)
            yield text
            if ended:
                return
        yield shown.flush()
