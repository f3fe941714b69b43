"""Sentence encoders by name.

A library of corpora takes an `Encoders` for its source of encoders; strategies see the default one as an `OffLoopEncoder`.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from trimtab.artifacts.catalogue import DEFAULT_ENCODER
from trimtab.retrieval.encoding import Vectors
from trimtab.server.shared_encoder import CountingEncoder, SharedEncoder

if TYPE_CHECKING:
    from trimtab.artifacts.progress import Progress
    from trimtab.retrieval.encoder import Encoder
    from trimtab.server.settings import Settings


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
