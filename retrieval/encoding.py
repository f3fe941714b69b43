"""What corpora ask of an encoder, and where they get one by name."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trimtab.retrieval.chunking import Span

Vectors = npt.NDArray[np.float32]


class TextEncoder(Protocol):
    """Texts in, unit vectors out; blocking, safe to call from several threads."""

    @property
    def name(self) -> str:
        """What corpora remember it by."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def window(self) -> int:
        """Most tokens of a text that are read, special tokens left out."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of texts, shape (n, dimension), float32."""
        ...

    def spans(self, text: str) -> list[Span]:
        """Where each token of a text lies, characters from and up to; special tokens left out."""
        ...


class EncoderSource(Protocol):
    """Encoders by name."""

    @property
    def default(self) -> str:
        """Name of the encoder of corpora that choose none."""
        ...

    def get(self, name: str) -> TextEncoder:
        """The encoder of a name, loaded or not yet. Raises where there is none of that name."""
        ...
