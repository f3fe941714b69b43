"""A document made sure of before it is stored: what is missing, malformed or too large is named, never mended."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from trimtab.retrieval.documents import TRUST, Document
from trimtab.retrieval.errors import InvalidDocument
from trimtab.retrieval.marks import marks

MOST_ID = 256
MOST_TEXT = 1_000_000
"""Characters of a text."""
MOST_METADATA = 256 * 1024
"""Bytes of the metadata as JSON."""
FLAGS = "flags"
"""The member of the metadata that the store itself writes: what `marks` found."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A document that may be stored."""

    document: Document
    """With its flags in the metadata, where it has any."""
    metadata: str
    """The metadata as JSON."""
    flags: tuple[str, ...]


def check(document: Document, index: int = 0) -> Checked:
    """A document as it will be stored. Raises InvalidDocument, which carries `index`."""
    try:
        _check_text("id", document.id, MOST_ID)
        _check_text("text", document.text, MOST_TEXT)
        given = {name: value for name, value in document.metadata.items() if name != FLAGS}
        _check_metadata(given)
        flags = marks(document.text, given)
        metadata = given | ({FLAGS: list(flags)} if flags else {})
        return Checked(Document(document.id, document.text, metadata), _as_json(metadata), flags)
    except InvalidDocument as error:
        raise InvalidDocument(f"document {_short(document.id)}: {error}", index=index, field=error.field) from None


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raises InvalidDocument where metadata cannot be stored."""
    _check_metadata(metadata)
    _as_json(metadata)


def content_id(text: str, answer: Any = None) -> str:
    """An id made of what a document says, so that importing the same again adds nothing twice."""
    digest = hashlib.sha256(json.dumps([text, answer], ensure_ascii=True).encode())
    return f"doc-{digest.hexdigest()[:20]}"


def _check_text(name: str, value: Any, most: int) -> None:
    if not isinstance(value, str):
        raise InvalidDocument(f"{name} must be a string, not {type(value).__name__}", field=name)
    if not value.strip():
        raise InvalidDocument(f"{name} must not be empty", field=name)
    if len(value) > most:
        raise InvalidDocument(f"{name} must have at most {most} characters, this has {len(value)}", field=name)
    _check_unicode(name, value)


def _check_unicode(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidDocument(f"{name} is no valid Unicode: a lone surrogate at character {error.start}", field=name) from None


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    _check_json(metadata, "metadata")
    for name in ("valid_from", "valid_until"):
        _check_day(name, metadata.get(name))
    first, last = metadata.get("valid_from"), metadata.get("valid_until")
    if first and last and date.fromisoformat(first) > date.fromisoformat(last):
        raise InvalidDocument(f"metadata.valid_from {first} is after valid_until {last}", field="valid_from")
    if "trust" in metadata and metadata["trust"] not in TRUST:
        allowed = ", ".join(TRUST)
        raise InvalidDocument(f"metadata.trust must be one of {allowed}, not {_short(metadata['trust'])}", field="trust")
    for name in ("tags", "jurisdiction"):
        _check_names(name, metadata.get(name))
    for name in ("source", "answer"):
        if not isinstance(metadata.get(name), str | None):
            raise InvalidDocument(f"metadata.{name} must be a string, not {_short(metadata[name])}", field=name)


def _check_json(value: Any, path: str, depth: int = 0) -> None:
    """Refuses what JSON does not carry, and what would not come back equal."""
    if depth > 8:
        raise InvalidDocument(f"{path} is nested more than 8 deep", field="metadata")
    match value:
        case str():
            _check_unicode(path, value)
        case None | bool() | int():
            pass
        case float() if math.isfinite(value):
            pass
        case Mapping():
            for name, member in value.items():
                if not isinstance(name, str):
                    raise InvalidDocument(f"{path} has a member named {name!r}; names are strings", field="metadata")
                _check_unicode(path, name)
                _check_json(member, f"{path}.{name}", depth + 1)
        case list() | tuple():
            for position, member in enumerate(value):
                _check_json(member, f"{path}[{position}]", depth + 1)
        case _:
            raise InvalidDocument(f"{path} must be a JSON value, not {_short(value)}", field="metadata")


def _check_day(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, str) and len(value) == 10:
        try:
            date.fromisoformat(value)
        except ValueError:
            pass
        else:
            return
    raise InvalidDocument(f"metadata.{name} must be a day such as 2026-01-31, not {_short(value)}", field=name)


def _check_names(name: str, value: Any) -> None:
    named = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(named, Sequence) or not all(isinstance(item, str) and item.strip() for item in named):
        raise InvalidDocument(f"metadata.{name} must be a string or a list of strings, not {_short(value)}", field=name)


def _as_json(metadata: Mapping[str, Any]) -> str:
    text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), default=dict)
    size = len(text.encode())
    if size > MOST_METADATA:
        raise InvalidDocument(f"metadata must have at most {MOST_METADATA} bytes as JSON, this has {size}", field="metadata")
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
