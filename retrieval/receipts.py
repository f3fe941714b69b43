"""What the store says about itself and about what it has done; plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.retrieval.documents import Document


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of documents that were put; all of it is on disk and searchable."""

    ids: tuple[str, ...]
    """The id of every document, in the order given."""
    added: int
    """How many ids were new."""
    replaced: int
    """How many ids were there before."""
    flagged: Mapping[str, tuple[str, ...]]
    """Id of each suspicious document -> what was found in it: special tokens, invisible characters. Nothing was altered."""
    version: int
    """The corpus' version from now on."""


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a corpus in the order of the ids."""

    documents: tuple[Document, ...]
    next: str | None
    """The `after` of the next page; None at the end."""


@dataclass(frozen=True, slots=True)
class CorpusInfo:
    """A corpus at a glance."""

    name: str
    encoder: str
    """Name of the encoder that embeds it."""
    dimension: int | None
    """Length of its vectors; None before the first document."""
    documents: int
    chunks: int
    """Passages that are searched; a long document has several."""
    version: int
    """Rises with every change."""
    metadata: Mapping[str, Any]
    created: str | None
    """When, ISO 8601, UTC; None for a built-in corpus."""
    read_only: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a corpus to come back to."""

    label: str
    version: int
    documents: int
    created: str
    """When, ISO 8601, UTC."""
