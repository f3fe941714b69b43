"""Stores a strategy may read: corpora to search, and an encoder of texts. Protocols; the server decides what stands behind."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trimtab.retrieval.documents import Filter, Hit


class Corpora(Protocol):
    """The corpora of the server, by name; the built-in ones included."""

    async def search(self, corpus: str, query: str, k: int, *, where: Filter | None = None) -> tuple[Hit, ...]:
        """At most `k` passages, most similar first, ties in a fixed order; () where the corpus holds none that qualifies.

        Raises CorpusNotFound.
        """
        ...

    async def size(self, corpus: str) -> int:
        """Number of documents. Raises CorpusNotFound."""
        ...


class TextEncoder(Protocol):
    """A sentence encoder."""

    async def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, shape (n, dimension), float32."""
        ...

    async def lengths(self, texts: Sequence[str]) -> tuple[int, ...]:
        """Tokens of each text in the encoder's own vocabulary, special tokens left out."""
        ...
