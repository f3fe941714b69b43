"""Single columns of a record as the values they must be; whatever else they hold is told with its name."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""Column -> value, columns without a value left out."""


class BadRecord(Exception):
    """A record that makes no sample; the message is the reason, without line or file."""


def a_string(value: Any, column: str) -> str:
    """A string that is not blank and that can be written down."""
    if not isinstance(value, str):
        raise BadRecord(f"{column} must be a string, not {named(value)}")
    if not value.strip():
        raise BadRecord(f"{column} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRecord(f"{column} holds a lone surrogate {value[error.start]!r} at character {error.start + 1}") from None
    return str(value)


def a_list(value: Any, column: str) -> Sequence[Any]:
    """A list."""
    if not isinstance(value, list | tuple):
        raise BadRecord(f"{column} must be a list, not {named(value)}")
    return value


def an_object(value: Any, column: str) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, Mapping):
        raise BadRecord(f"{column} must be an object, not {named(value)}")
    return value


def a_number(value: Any, column: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRecord(f"{column} must be a number, not {named(value)}")
    if not math.isfinite(value):
        raise BadRecord(f"{column} is {value}; it must be finite")
    return float(value)


_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def a_flag(value: Any, column: str) -> bool:
    """True or false, also written 1 or 0, yes or no."""
    found = _WORDS.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None
    if found is None:
        raise BadRecord(f"{column} must be true or false (or yes, no, 1, 0), not {named(value)}")
    return found


def strings(value: Any, column: str) -> tuple[str, ...]:
    """One string, or a list of them."""
    if isinstance(value, str):
        return (a_string(value, column),)
    return tuple(a_string(one, f"{column}[{place}]") for place, one in enumerate(a_list(value, column)))


def divided(value: str) -> list[str]:
    """The parts of a cell that holds several: a JSON list, or parts set apart by ";"."""
    if value.lstrip().startswith("["):
        try:
            return list(json.loads(value))
        except ValueError:
            pass
    return [part.strip() for part in value.split(";") if part.strip()]


def named(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, str):
        return f"{value[:40]!r}" if value.strip() else "an empty string"
    kinds = {bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)
