"""Edits between two texts: how many words changed, and a diff for people."""

import difflib
import re
from dataclasses import dataclass

_WORD = re.compile(r"\S+")
_SENTENCE = re.compile(r".+?(?:[.!?]+[\"')\]]*(?=\s)\s*|\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Edits:
    """Words of the new text beyond the old one's, and of the old one's that are gone."""

    added: int
    removed: int


def edits(old: str, new: str) -> Edits:
    """What became of the old text's words. What both begin and end with is not compared again."""
    before, after = _WORD.findall(old), _WORD.findall(new)
    start = _shared(before, after)
    before, after = before[start:], after[start:]
    end = _shared(before[::-1], after[::-1])
    before, after = before[: len(before) - end], after[: len(after) - end]
    matcher = difflib.SequenceMatcher(None, before, after)
    kept = sum(block.size for block in matcher.get_matching_blocks())
    return Edits(len(after) - kept, len(before) - kept)


def diff(old: str, new: str) -> str:
    """A unified diff, sentence by sentence; "" where nothing changed."""
    lines = difflib.unified_diff(_sentences(old), _sentences(new), "draft", "revision", lineterm="", n=1)
    return "\n".join(line.rstrip() for line in lines)


def _shared(first: list[str], second: list[str]) -> int:
    """How many leading items two lists share."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _sentences(text: str) -> list[str]:
    return _SENTENCE.findall(text)
