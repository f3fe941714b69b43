"""One encoder under many callers: queries that wait together are embedded together, and between the portions of an import."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trimtab.retrieval.encoding import TextEncoder, Vectors

FEW = 16
"""Texts of a call that may share its batch with others; a larger call is an import."""
TOGETHER = 64
"""Texts of a batch."""
PORTION_CHARS = 4_000
"""Characters of an import that are embedded at once: what a query may wait for, a tenth of a second on two idle cores."""


class CountingEncoder(TextEncoder, Protocol):
    """An encoder that also tells tokens, as `trimtab.retrieval.encoder.Encoder` does."""

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text with special tokens."""
        ...


@dataclass(slots=True)
class _Call:
    texts: Sequence[str]
    vectors: Vectors | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.vectors is not None or self.error is not None

    def result(self) -> Vectors:
        """Its vectors, or its error raised."""
        if self.error is not None or self.vectors is None:
            raise self.error or RuntimeError("the call was not answered")
        return self.vectors


class SharedEncoder:
    """An encoder for many threads. While it is busy small calls gather, and become one batch; an import lets them pass."""

    def __init__(self, encoder: CountingEncoder) -> None:
        self._encoder = encoder
        self._waiting: list[_Call] = []
        self._busy = False
        self._changed = threading.Condition()

    @property
    def name(self) -> str:
        """What corpora remember it by."""
        return self._encoder.name

    @property
    def waiting(self) -> int:
        """Calls that wait for the next batch."""
        return len(self._waiting)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._encoder.dimension

    @property
    def window(self) -> int:
        """Most tokens of a text that are read, special tokens left out."""
        return self._encoder.window

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a text lies, characters from and up to; special tokens left out."""
        return self._encoder.spans(text)

    def lengths(self, texts: Sequence[str]) -> tuple[int, ...]:
        """Tokens of each text, special tokens left out."""
        empty, *sequences = self._encoder.token_ids(["", *texts])
        return tuple(len(ids) - len(empty) for ids in sequences)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of texts, shape (n, dimension), float32. Raises ArtifactError where the model cannot be had."""
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return self._together(_Call(texts)) if len(texts) <= FEW else self._in_portions(texts)

    def _together(self, call: _Call) -> Vectors:
        """A small call: whoever is first embeds all that wait."""
        with self._changed:
            self._waiting.append(call)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: call.is_done or not self._busy)
                if call.is_done:
                    return call.result()
                self._busy = True
            with self._turn():
                self._embed_waiting()

    def _in_portions(self, texts: Sequence[str]) -> Vectors:
        """A large call: portions of similar length, and before each the small calls that wait."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for places in _portions(order, texts):
            with self._changed:
                self._changed.wait_for(lambda: not self._busy)
                self._busy = True
            with self._turn():
                self._embed_waiting()
                vectors[places] = self._encoder.encode([texts[place] for place in places])
        return vectors

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The turn of who has made the encoder busy."""
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _embed_waiting(self) -> None:
        """One batch of small calls, the longest waiting first; each gets its own rows, or the error that met all of them."""
        if not (calls := self._next()):
            return
        try:
            vectors = self._encoder.encode([text for call in calls for text in call.texts])
        except Exception as error:  # noqa: BLE001 - handed to every caller of the batch
            for call in calls:
                call.error = error
        else:
            for call, own in zip(calls, np.split(vectors, np.cumsum([len(call.texts) for call in calls])[:-1]), strict=True):
                call.vectors = own
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> list[_Call]:
        """The calls of the next batch."""
        with self._changed:
            count, texts = 0, 0
            while count < len(self._waiting) and texts + len(self._waiting[count].texts) <= TOGETHER:
                texts += len(self._waiting[count].texts)
                count += 1
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch


def _portions(order: Sequence[int], texts: Sequence[str]) -> Iterator[list[int]]:
    """Places of texts in the order given, so many at once as one wait should take."""
    portion: list[int] = []
    chars = 0
    for place in order:
        if portion and (len(portion) == TOGETHER or chars + len(texts[place]) > PORTION_CHARS):
            yield portion
            portion, chars = [], 0
        portion.append(place)
        chars += len(texts[place])
    if portion:
        yield portion
