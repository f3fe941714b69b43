"""Corpora of a server on an encoder of words, without a model."""

import threading
from collections.abc import Sequence
from pathlib import Path

from tests.retrieval.doubles import WordEncoder
from trimtab.retrieval.encoding import Vectors
from trimtab.server.corpora import ServedCorpora
from trimtab.server.encoders import Encoders


class CountingWords(WordEncoder):
    """Its token ids are the lengths of the words, between two special tokens."""

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[0, *(stop - start for start, stop in self.spans(text)), 0] for text in texts]


class GatedWords(CountingWords):
    """Waits in `encode` until it is let go; remembers how many texts each call had."""

    def __init__(self, name: str = "words") -> None:
        super().__init__(name)
        self.go = threading.Event()
        self.entered = threading.Event()
        self.calls: list[int] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(len(texts))
        self.entered.set()
        assert self.go.wait(30)
        return super().encode(texts)


def unknown(name: str) -> CountingWords:
    """There is no other encoder."""
    raise OSError(f"no encoder {name!r}")


def words(*encoders: CountingWords) -> Encoders:
    """A source of these encoders, by default one called `words`."""
    known = encoders or (CountingWords(window=64),)
    return Encoders({encoder.name: encoder for encoder in known}, unknown)


def corpora_of(data: Path, *encoders: CountingWords) -> ServedCorpora:
    """The corpora below a data directory."""
    return ServedCorpora(data, words(*encoders))
