"""Separators: marks that part the fields of a prompt are written apart inside the fields, and put together again in the answer.

A mark gets one more space before its last character, a single character that stands alone one more of itself; what already
looks so gets one more too. So the text stays readable, no field can be forged, and every text comes back as it was.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_Rewrite = Callable[["re.Match[str]"], str]


@dataclass(frozen=True, slots=True)
class _Mark:
    pattern: re.Pattern[str]
    apart: _Rewrite
    together: _Rewrite


@dataclass(frozen=True, slots=True)
class Separators:
    """Several marks."""

    _marks: tuple[_Mark, ...]

    @classmethod
    def of(cls, marks: Iterable[str]) -> "Separators":
        """Those of a prompt; blank ones count for nothing."""
        return cls(tuple(_mark(text) for mark in marks if (text := mark.strip())))

    def apart(self, text: str) -> str:
        """The text without a mark in it."""
        for mark in self._marks:
            text = mark.pattern.sub(mark.apart, text)
        return text

    def together(self, text: str) -> str:
        """The text that `apart` was given; marks that stand in it whole are left."""
        for mark in reversed(self._marks):
            text = mark.pattern.sub(mark.together, text)
        return text


def cut(text: str, stops: Iterable[str]) -> str:
    """The text before the first of several strings."""
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return text[: min(places)] if places else text


def _mark(mark: str) -> _Mark:
    return _alone(mark) if len(mark) == 1 else _spaced(mark)


def _spaced(mark: str) -> _Mark:
    head, last = mark[:-1], mark[-1]
    pattern = re.compile(f"{re.escape(head)}( *){re.escape(last)}")
    return _Mark(pattern, lambda m: f"{head}{m[1]} {last}", lambda m: f"{head}{m[1][1:]}{last}")


def _alone(mark: str) -> _Mark:
    pattern = re.compile(rf"(?<!\S)(?:{re.escape(mark)})+(?!\S)")
    return _Mark(pattern, lambda m: m[0] + mark, lambda m: m[0][1:] if len(m[0]) > 1 else m[0])
