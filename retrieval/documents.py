"""Documents, what a search returns of them, and what a search may leave out; nothing here knows an index or a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Trust = Literal["untrusted", "reviewed", "trusted"]
"""How far an operator vouches for a document's text; a later value includes the earlier ones."""
TRUST: tuple[Trust, ...] = ("untrusted", "reviewed", "trusted")

EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Document:
    """One record of a corpus: a norm, or a demonstration (its prompt is the text, its answer `metadata["answer"]`)."""

    id: str
    """Unique in its corpus, 1 to 256 characters."""
    text: str
    """What is embedded and searched."""
    metadata: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """JSON values. Known members: answer, jurisdiction, tags, valid_from, valid_until, source (provenance), trust."""

    @property
    def trust(self) -> Trust:
        """How far the text is vouched for; untrusted where nobody says."""
        given = self.metadata.get("trust")
        return given if given in TRUST else "untrusted"


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found."""

    document: Document
    """The whole document it belongs to."""
    text: str
    """The passage itself; the document's text where it was not cut into chunks."""
    score: float
    """Cosine similarity of query and passage, -1 to 1."""
    chunk: int = 0
    """Which passage of the document, from 0."""


class Filter(BaseModel):
    """Which documents a search may return; every member that is given must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    jurisdiction: tuple[str, ...] = ()
    """One of these must be among the document's `metadata.jurisdiction` (a string or a list); documents without one always
    qualify, as rules that hold everywhere."""
    tags: tuple[str, ...] = ()
    """All of these must be among `metadata.tags`."""
    valid_on: date | None = None
    """The day must lie within `metadata.valid_from` and `metadata.valid_until` (inclusive, ISO dates; absent = open)."""
    min_trust: Trust = "untrusted"
    """Least `metadata.trust`."""
    where: Mapping[str, str | int | float | bool] = Field(default_factory=dict)
    """Equality of other members of the metadata."""
    ids: tuple[str, ...] = ()
    """Only these documents."""

    @property
    def is_empty(self) -> bool:
        """Whether every document passes."""
        return self == Filter()

    def admits(self, document: Document) -> bool:
        """Whether a document may be returned."""
        metadata = document.metadata
        return (
            _shares(self.jurisdiction, metadata.get("jurisdiction"))
            and set(self.tags) <= set(strings(metadata.get("tags")))
            and _is_valid(self.valid_on, metadata)
            and TRUST.index(document.trust) >= TRUST.index(self.min_trust)
            and all(_same(metadata.get(name), value) for name, value in self.where.items())
            and (not self.ids or document.id in self.ids)
        )


def strings(value: Any) -> tuple[str, ...]:
    """A member that may be one string or several, as several."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()


def _shares(wanted: Sequence[str], value: Any) -> bool:
    own = strings(value)
    return not wanted or not own or bool(set(wanted) & set(own))


def _is_valid(day: date | None, metadata: Mapping[str, Any]) -> bool:
    if day is None:
        return True
    first, last = metadata.get("valid_from"), metadata.get("valid_until")
    return (not first or date.fromisoformat(first) <= day) and (not last or day <= date.fromisoformat(last))


def _same(value: Any, wanted: str | int | float | bool) -> bool:
    """Equality of JSON values: true is not 1."""
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted
