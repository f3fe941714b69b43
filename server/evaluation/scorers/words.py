"""The words of a text, as the scorers that count words see them. Knows no sample and no answer."""

import re
from collections.abc import Sequence

Gram = tuple[str, ...]

_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words(text: str) -> list[str]:
    """Words in order, without case: runs of letters and digits, apostrophes inside them kept, punctuation left out.

    A language that writes no spaces gives a run of text as one word.
    """
    return [found.casefold() for found in _WORD.findall(text)]


def grams(tokens: Sequence[str], n: int) -> list[Gram]:
    """Every run of n words, max(0, len(tokens) - n + 1) of them."""
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))
