"""Sentence encoders by name, and how they are shared: callers that wait together are embedded together.

A library of corpora takes an `Encoders` for its source of encoders; strategies see the default one as an `OffLoopEncoder`.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trimtab.artifacts.catalogue import DEFAULT_ENCODER
from trimtab.retrieval.encoding import TextEncoder, Vectors

if TYPE_CHECKING:
    from trimtab.artifacts.progress import Progress
    from trimtab.retrieval.encoder import Encoder
    from trimtab.server.settings import Settings

FEW = 16
"""Texts of a call that may share its batch with others; larger calls make batches of their own."""
TOGETHER = 64
"""Texts of a shared batch."""


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


class SharedEncoder:
    """An encoder for many threads. While one batch is embedded, small calls gather; the first of them embeds them all."""

    def __init__(self, encoder: CountingEncoder) -> None:
        self._encoder = encoder
        self._waiting: list[_Call] = []
        self._gathering = threading.Lock()
        self._turn = threading.Lock()

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
        if not 0 < len(texts) <= FEW:
            return self._encoder.encode(texts)
        call = _Call(texts)
        with self._gathering:
            self._waiting.append(call)
        while not call.is_done:
            with self._turn:
                if not call.is_done:
                    self._embed(self._next())
        if call.error is not None:
            raise call.error
        return call.vectors if call.vectors is not None else np.empty((0, 0), dtype=np.float32)

    def _next(self) -> list[_Call]:
        """The calls of the next batch, the longest waiting first."""
        with self._gathering:
            count, texts = 0, 0
            while count < len(self._waiting) and texts + len(self._waiting[count].texts) <= TOGETHER:
                texts += len(self._waiting[count].texts)
                count += 1
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _embed(self, calls: Sequence[_Call]) -> None:
        """One batch; each call gets its own rows, or the error that met all of them."""
        try:
            vectors = self._encoder.encode([text for call in calls for text in call.texts])
        except Exception as error:  # noqa: BLE001 - handed to every caller of the batch
            for call in calls:
                call.error = error
            return
        start = 0
        for call in calls:
            call.vectors = vectors[start : start + len(call.texts)]
            start += len(call.texts)


class Encoders:
    """Encoders by name: those that are served, and any other that a stored corpus names; each is loaded at its first use."""

    def __init__(self, served: Mapping[str, CountingEncoder], make: Callable[[str], CountingEncoder]) -> None:
        """`served` is not empty; its first is the default. `make` builds one by alias, directory or hub id."""
        self._made = {name: SharedEncoder(encoder) for name, encoder in served.items()}
        self._make = make
        self._lock = threading.Lock()
        self.default = next(iter(served))
        """Name of the encoder of corpora that choose none."""
        self.served = tuple(served)
        """Names that a client may choose."""

    @classmethod
    def of(cls, served: "Mapping[str, Encoder]", progress: "Progress | None" = None) -> "Encoders":
        """Those that are served, and any other sentence-transformers model."""
        from trimtab.retrieval.encoder import Encoder

        return cls(served, partial(Encoder, progress=progress))

    def get(self, name: str) -> SharedEncoder:
        """The encoder of a name, loaded or not yet."""
        with self._lock:
            if name not in self._made:
                self._made[name] = SharedEncoder(self._make(name))
            return self._made[name]


def served_encoders(settings: "Settings", progress: "Progress | None" = None) -> "dict[str, Encoder]":
    """The sentence encoders of a server by name, the default first; each is loaded when it is first used."""
    from trimtab.retrieval.encoder import Encoder

    given = settings.roles.get("embed")
    first = (given if isinstance(given, str) else given.source if given else None) or DEFAULT_ENCODER
    return {source: Encoder(source, progress=progress) for source in (first, *settings.encoders)}


@dataclass(frozen=True, slots=True)
class OffLoopEncoder:
    """The strategies' `TextEncoder`: an encoder whose work is done in threads."""

    encoder: SharedEncoder
    threads: Executor

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (n, dimension), float32."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, self.encoder.encode, texts)

    async def lengths(self, texts: Sequence[str]) -> tuple[int, ...]:
        """Tokens of each text in the encoder's own vocabulary, special tokens left out."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, self.encoder.lengths, texts)
