"""The corpora that come with Trimtab, in this project's own words: `default-norms` and `default-demonstrations`.

They are packaged as JSON lines, read once and never written. Their vectors are none of this module's business.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from types import MappingProxyType
from typing import Any

from trimtab.retrieval.documents import Document

PROVENANCE: Mapping[str, Any] = MappingProxyType({"source": "Trimtab", "trust": "trusted"})
"""Metadata of every document here."""


@dataclass(frozen=True)
class BuiltInCorpus:
    """A read-only corpus inside the package."""

    name: str
    file: str
    """Its file beside this module, a document a line."""
    version: int
    """Raised whenever the file changes; a test pins the hash that belongs to it."""
    summary: str

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        """Its documents in the order of the file."""
        return tuple(_documents(self._bytes()))

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal hash of the file."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def _bytes(self) -> bytes:
        return resources.files(__package__ or "").joinpath(self.file).read_bytes()


NORMS = BuiltInCorpus("default-norms", "norms.jsonl", 1, "Short rules of conduct for everyday questions, a rule a document.")
DEMONSTRATIONS = BuiltInCorpus(
    "default-demonstrations",
    "demonstrations.jsonl",
    1,
    "Prompts of many kinds, each with the answer of a helpful, honest and careful assistant.",
)
BUILT_IN: Mapping[str, BuiltInCorpus] = MappingProxyType({corpus.name: corpus for corpus in (NORMS, DEMONSTRATIONS)})
"""Name -> corpus."""


def _documents(raw: bytes) -> Iterator[Document]:
    for line in raw.decode("utf-8").splitlines():
        row = json.loads(line)
        yield Document(row["id"], row["text"], MappingProxyType({**row["metadata"], **PROVENANCE}))
