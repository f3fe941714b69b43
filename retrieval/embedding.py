"""Texts as one corpus embeds them: cut into passages, by the encoder that the corpus remembers."""

import threading
from collections.abc import Sequence

import numpy as np

from trimtab.retrieval.chunking import Window, passages
from trimtab.retrieval.database import Database
from trimtab.retrieval.encoding import EncoderSource, TextEncoder, Vectors
from trimtab.retrieval.errors import EncoderMismatch
from trimtab.retrieval.records import STORED, Embedded

PROBE = "The gardener waters young trees before sunrise."
"""Its vector is stored with the first document: an encoder that gives another one is not the same."""
LEAST_LIKENESS = 0.99
"""Cosine of the probe's vectors; other weights fall far below, another device or number format does not."""
OVERLAP = 8
"""Two passages of a text share at most a window by this."""


class Embedder:
    """The encoder of a corpus, made sure of before its first use."""

    def __init__(self, database: Database, encoders: EncoderSource) -> None:
        facts = database.facts()
        self._database = database
        self._encoders = encoders
        self._lock = threading.Lock()
        self._name = facts["encoder"]
        self._trusted: TextEncoder | None = None
        self.dimension = int(facts["dimension"]) if "dimension" in facts else None
        """Length of the vectors; None before the first text."""

    def query(self, text: str) -> Vectors:
        """The vector of a query, shape (dimension,)."""
        valid = text.encode("utf-8", "replace").decode()  # a lone surrogate has no tokens
        vector: Vectors = self._encoder().encode([valid])[0]
        return vector

    def passages(self, texts: Sequence[str]) -> dict[str, Embedded]:
        """Each text's passages and their vectors; equal texts are embedded once."""
        unique = list(dict.fromkeys(texts))
        if not unique:
            return {}
        encoder = self._encoder()
        window = Window(encoder.window, encoder.window // OVERLAP)
        spans = [passages(text, encoder.spans(text), window) for text in unique]
        vectors = encoder.encode([text[start:stop] for text, own in zip(unique, spans, strict=True) for start, stop in own])
        ends = np.cumsum([len(own) for own in spans])
        parts = np.split(vectors, ends[:-1])
        return {text: Embedded(own, part) for text, own, part in zip(unique, spans, parts, strict=True)}

    def _encoder(self) -> TextEncoder:
        with self._lock:
            if self._trusted is None:
                encoder = self._encoders.get(self._name)
                self._verify(encoder)
                self._trusted = encoder
            return self._trusted

    def _verify(self, encoder: TextEncoder) -> None:
        vector = np.ascontiguousarray(encoder.encode([PROBE])[0], dtype=STORED)
        stored = self._database.facts().get("probe")
        if stored is None:
            self._database.note({"dimension": str(len(vector)), "probe": vector.tobytes().hex()})
            self.dimension = len(vector)
            return
        known = np.frombuffer(bytes.fromhex(stored), dtype=STORED)
        if len(known) != len(vector):
            raise EncoderMismatch(
                f"encoder {self._name!r} gives {len(vector)} numbers, the corpus holds vectors of {len(known)}"
            )
        if known @ vector < LEAST_LIKENESS:
            raise EncoderMismatch(f"encoder {self._name!r} is not the one that embedded the corpus: its vectors differ")
