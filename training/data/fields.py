"""Single columns of a record as the values they must be; whatever else they hold is told with its name."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.training.data.rows import ROLES, Text, Turn
from trimtab.training.data.validation import BadRecord

Record = Mapping[str, Any]
"""Column -> value, columns without a value left out."""

_MARKS = (
    ("\n\nHuman:", re.compile(r"\n\n(Human|Assistant):")),
    ("<|prompter|>", re.compile(r"<\|(prompter|assistant)\|>")),
)
"""How dialogues are written as one string, and how that begins: HH, and PRO's form of it."""


def a_string(record: Record, column: str) -> str:
    """The column's string."""
    value = record[column]
    if not isinstance(value, str):
        raise BadRecord(f"{column} must be a string, not {named(value)}")
    return value


def a_number(value: Any, column: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRecord(f"{column} must be a number, not {named(value)}")
    if not math.isfinite(value):
        raise BadRecord(f"{column} is {value}; it must be finite")
    return float(value)


def a_whole_number(value: Any, column: str) -> int:
    """An integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRecord(f"{column} must be a whole number, not {named(value)}")
    return value


def a_label(value: Any, column: str) -> bool:
    """True or false, also written 1 or 0."""
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise BadRecord(f"{column} must be true or false, not {named(value)}")


def numbers(record: Record, column: str, count: int) -> tuple[float, ...]:
    """The column's list of `count` finite numbers."""
    values = a_list(record, column)
    if len(values) != count:
        raise BadRecord(f"{column} holds {len(values)} numbers for {count} responses")
    return tuple(a_number(value, f"{column}[{place}]") for place, value in enumerate(values))


def a_list(record: Record, column: str) -> Sequence[Any]:
    """The column's list."""
    value = record[column]
    if not isinstance(value, list | tuple):
        raise BadRecord(f"{column} must be a list, not {named(value)}")
    return value


def texts(record: Record, column: str) -> list[Text]:
    """The column's list of texts."""
    return [a_text(value, f"{column}[{place}]") for place, value in enumerate(a_list(record, column))]


def a_text(value: Any, column: str) -> Text:
    """Plain text or turns."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return tuple(_turn(turn, f"{column}[{place}]") for place, turn in enumerate(value))
    raise BadRecord(f"{column} must be a string or a list of turns, not {named(value)}")


def turns_of(value: Any, column: str) -> tuple[Turn, ...]:
    """Turns only."""
    read = a_text(value, column)
    if isinstance(read, str):
        raise BadRecord(f"{column} must be a list of turns, not a string")
    return read


def dialogue_in(text: str) -> tuple[Turn, ...] | None:
    """The turns of a dialogue written as one string; None where it is no such string. An open assistant turn has no content."""
    for human, pattern in _MARKS:
        if text.startswith(human):
            pieces = pattern.split(text)[1:]
            said = zip(pieces[::2], pieces[1::2], strict=True)
            return tuple(Turn("assistant" if who.lower() == "assistant" else "user", what.strip()) for who, what in said)
    return None


def as_prompt(prompt: Text) -> Text:
    """A prompt whose dialogue string, if it is one, is read; the assistant's open turn at its end is left out."""
    turns = dialogue_in(prompt) if isinstance(prompt, str) else None
    if turns is None:
        return prompt
    return turns[:-1] if turns[-1] == Turn("assistant", "") else turns


def named(value: Any) -> str:
    """What a JSON value is, in words."""
    kinds = {str: "a string", bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def _turn(value: Any, name: str) -> Turn:
    if not isinstance(value, Mapping):
        raise BadRecord(f"{name} must be an object with role and content, not {named(value)}")
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        raise BadRecord(f"{name} has the role {role!r}; known are {', '.join(ROLES)}")
    if value.get("tool_calls"):
        raise BadRecord(f"{name} holds tool_calls, which are not trained on")
    if not isinstance(content, str):
        raise BadRecord(f"the content of {name} must be a string, not {named(content)}")
    return Turn(role, content)
