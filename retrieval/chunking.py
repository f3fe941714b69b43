"""Cuts a text that is longer than an encoder's window into passages, at sentence ends where there are some.

It counts in the encoder's own tokens and knows nothing of vectors.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""Characters from, up to."""

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"""[.!?…][)\]"'”’»]*\s+|[。！？]|\n\s*""")
_WORD = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Window:
    """How long a passage may be, in tokens."""

    tokens: int
    """Longest passage, > 0."""
    overlap: int
    """Most tokens at its beginning that the passage before has too, less than half of `tokens`."""


def passages(text: str, tokens: Sequence[Span], window: Window) -> list[Span]:
    """Where each passage begins and ends in `text`; the whole text where it fits into the window.

    tokens: where each token of the text lies, in order. Every token is in a passage; a passage has at most `window.tokens`.
    It ends at the last paragraph, else sentence, else word that ends in the window's second half, else at the window.
    """
    if len(tokens) <= window.tokens:
        return [(0, len(text))]
    borders = [_borders(text, tokens, pattern) for pattern in (_PARAGRAPH, _SENTENCE, _WORD)]
    found: list[Span] = []
    begin = 0
    while True:
        end = _end(begin, len(tokens), borders, window)
        found.append((tokens[begin][0], tokens[end - 1][1]))
        if end == len(tokens):
            return found
        begin = _next_begin(begin, end, borders[1:], window)


def _borders(text: str, tokens: Sequence[Span], pattern: re.Pattern[str]) -> list[int]:
    """The first token behind each match of `pattern`, ascending; a token may hold the space before its word."""
    ends = [end for _, end in tokens]
    return sorted({bisect_right(ends, match.end()) for match in pattern.finditer(text)})


def _end(begin: int, total: int, borders: Sequence[Sequence[int]], window: Window) -> int:
    """The token a passage from `begin` ends before."""
    limit = begin + window.tokens
    if limit >= total:
        return total
    for border in borders:
        last = bisect_right(border, limit) - 1
        if last >= 0 and border[last] > begin + window.tokens // 2:
            return border[last]
    return limit


def _next_begin(begin: int, end: int, borders: Sequence[Sequence[int]], window: Window) -> int:
    """The token the next passage begins with: the earliest sentence, else word, within the overlap."""
    earliest = max(end - window.overlap, begin + 1)
    for border in borders:
        first = bisect_left(border, earliest)
        if first < len(border) and border[first] < end:
            return border[first]
    return end
