"""Message content on its way out: control strings in it are broken, so that no upstream takes them for control tokens.

Everything else stays as it came; a message without such a string is the same object.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.server.engines.encoding.escape import BREAK, escape

Wire = Mapping[str, Any]
_TEXTS = frozenset({"text", "refusal"})


def safe_messages(messages: Sequence[Wire]) -> list[Wire]:
    """The messages with every control string in contents, names and tool calls broken."""
    return [_message(message) for message in messages]


def _message(message: Wire) -> Wire:
    """Every string of a message but its role; template code sees them all."""
    safe = {
        key: value if key == "role" else _parts(value) if key == "content" else _value(value) for key, value in message.items()
    }
    return message if safe == dict(message) else safe


def _parts(content: Any) -> Any:
    if not isinstance(content, Sequence) or isinstance(content, str):
        return _value(content)
    parts = [_part(part) for part in content]
    joined = "".join(_text(part) for part in parts)
    return parts if escape(joined) == joined else [_apart(part) for part in parts]


def _part(part: Any) -> Any:
    """A content part; what lies behind a URL is no text and stays."""
    if not isinstance(part, Mapping):
        return part
    return {key: escape(value) if key in _TEXTS and isinstance(value, str) else value for key, value in part.items()}


def _text(part: Any) -> str:
    return str(part.get("text", "")) if isinstance(part, Mapping) else ""


def _apart(part: Any) -> Any:
    """A part that forms no control string with the one before it."""
    return {**part, "text": BREAK + part["text"]} if isinstance(part, Mapping) and part.get("text") else part


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {key: _value(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_value(inner) for inner in value]
    return value
