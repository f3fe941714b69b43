"""Values of a trace as words: short ones in a line, control characters spelt out, long lists cut."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

SHORT = 64
"""Longest value that shares a line with others, in characters."""
MARKED = ("committed", "chosen", "accepted", "kept")
"""Members that say of a node or an entry that it is the one."""


def cut(shown: list[Text], most: int, indent: str) -> list[Text]:
    """The first lines, and how many there would be."""
    if len(shown) <= most:
        return shown
    return [*shown[: most - 1], Text(f"{indent}... {len(shown) - most + 1} more lines", "dim")]


def scalar(value: Any) -> str | None:
    """A short value in words, None for one that needs lines of its own."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return (plain(value) or '""') if len(value) <= SHORT and "\n" not in value else None
    parts = [scalar(part) for part in value] if isinstance(value, Sequence) else [None]
    joined = ", ".join(part for part in parts if part is not None)
    return f"[{joined}]" if None not in parts and len(joined) <= SHORT else None


def title(name: str) -> str:
    """A member's name in words."""
    return plain(name.replace("_", " "))


def count(number: int, what: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def plain(text: str) -> str:
    """Text in which control characters, the terminal's among them, are spelt out."""
    return "".join(char if char.isprintable() else " " if char == "\t" else repr(char)[1:-1] for char in text)


def is_marked(entry: Mapping[str, Any]) -> bool:
    """Whether it is the one that was taken."""
    return any(entry.get(name) is True for name in MARKED)
