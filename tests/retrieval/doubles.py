"""Doubles of the store's neighbours: an encoder of words that needs no model."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from trimtab.retrieval.chunking import Span
from trimtab.retrieval.encoding import Vectors


class WordEncoder:
    """The sum of a random vector a word: texts that share words are similar. A token is a word or a sign."""

    def __init__(self, name: str = "words", *, dimension: int = 32, window: int = 16, salt: str = "") -> None:
        self.name = name
        self.dimension = dimension
        self.window = window
        self.texts: list[str] = []
        """Every text that was encoded, in order."""
        self._salt = salt

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.texts.extend(texts)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for start, stop in self.spans(text)[: self.window] or [(0, 0)]:
                vectors[row] += self._word(text[start:stop].lower())
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def spans(self, text: str) -> list[Span]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]

    def _word(self, word: str) -> Vectors:
        seed = int.from_bytes(hashlib.sha256((self._salt + word).encode()).digest()[:8])
        return np.random.default_rng(seed).standard_normal(self.dimension).astype(np.float32)


class Encoders:
    """Encoders by name; the first is the default."""

    def __init__(self, *known: WordEncoder) -> None:
        self._known = {encoder.name: encoder for encoder in known or (WordEncoder(),)}
        self.default = next(iter(self._known))

    def get(self, name: str) -> WordEncoder:
        return self._known[name]
