"""How one text becomes another: the shortest word-level edit script, and how it is written for a model to learn.

Source: Liu et al. 2022, arXiv 2301.00355, section 3.1 (the chain of edits by dynamic programming). Deviation: our reading, as
no code was released: words carry the white space before them, every operation costs 1, neighbouring operations are one edit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\s*\S+|\s+$")
Step = Literal["keep", "replace", "delete", "insert"]


@dataclass(frozen=True, slots=True)
class Edit:
    """Words that stand in place of others."""

    at: int
    """Place of the first replaced word in the source; of an insertion, that of the word it comes before."""
    old: tuple[str, ...]
    """Words taken out, white space before them included; empty = an insertion."""
    new: tuple[str, ...]
    """Words put in; empty = a deletion."""

    @property
    def cost(self) -> int:
        """Single-word operations it stands for."""
        return max(len(self.old), len(self.new))


def words(text: str) -> tuple[str, ...]:
    """The words of a text with the white space before each; joined they are the text."""
    return tuple(_WORD.findall(text))


def edit_chain(source: str, target: str) -> tuple[Edit, ...]:
    """The edits that make `target` of `source`, from left to right, with the fewest single-word operations."""
    before, after = words(source), words(target)
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    inner = (before[head : len(before) - tail], after[head : len(after) - tail])
    return _merged(_steps(*inner), *inner, offset=head)


def apply(source: str, edits: Sequence[Edit]) -> str:
    """The source after the edits."""
    before, done, result = words(source), 0, list[str]()
    for edit in edits:
        result += [*before[done : edit.at], *edit.new]
        done = edit.at + len(edit.old)
    return "".join([*result, *before[done:]])


def written(source: str, edits: Sequence[Edit]) -> str:
    """The edits in words, one a line; "- keep all" where there is none."""
    before = words(source)
    return "\n".join(_line(edit, before) for edit in edits) or "- keep all"


def _line(edit: Edit, before: Sequence[str]) -> str:
    old, new = (" ".join("".join(some).split()) for some in (edit.old, edit.new))
    if not edit.old:
        place = f'after "{before[edit.at - 1].strip()}"' if edit.at else "at the beginning"
        return f'- insert "{new}" {place}'
    return f'- replace "{old}" with "{new}"' if edit.new else f'- delete "{old}"'


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """How many words both begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


def _distances(before: Sequence[str], after: Sequence[str]) -> NDArray[np.int32]:
    """Fewest operations from each beginning of `before` to each of `after`, shape (n + 1, m + 1)."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*before, *after]))}
    wanted = np.array([numbers[word] for word in after], dtype=np.int32)
    steps = np.arange(len(after) + 1, dtype=np.int32)
    table = np.empty((len(before) + 1, len(after) + 1), dtype=np.int32)
    table[0] = steps
    for row, word in enumerate(before, 1):
        above = table[row - 1]
        best = above + 1
        np.minimum(best[1:], above[:-1] + (wanted != numbers[word]), out=best[1:])
        table[row] = np.minimum.accumulate(best - steps) + steps
    return table


def _steps(before: Sequence[str], after: Sequence[str]) -> list[Step]:
    """The single-word operations of a shortest script, from left to right."""
    table = _distances(before, after)
    i, j = len(before), len(after)
    steps: list[Step] = []
    while i or j:
        step = _last(table, i, j, same=bool(i and j) and before[i - 1] == after[j - 1])
        steps.append(step)
        i -= step != "insert"
        j -= step != "delete"
    return steps[::-1]


def _last(table: NDArray[np.int32], i: int, j: int, *, same: bool) -> Step:
    """The last operation of a shortest script; a replacement only where it must be, so that more words are kept."""
    if same and table[i, j] == table[i - 1, j - 1]:
        return "keep"
    if i and table[i, j] == table[i - 1, j] + 1:
        return "delete"
    return "insert" if j and table[i, j] == table[i, j - 1] + 1 else "replace"


def _merged(steps: Sequence[Step], before: Sequence[str], after: Sequence[str], *, offset: int) -> tuple[Edit, ...]:
    """Runs of operations as one edit each."""
    edits: list[Edit] = []
    i = j = start = begun = 0
    for step in [*steps, "keep"]:
        if step == "keep":
            if (start, begun) != (i, j):
                edits.append(Edit(offset + start, tuple(before[start:i]), tuple(after[begun:j])))
            start, begun = i + 1, j + 1
        i += step in ("keep", "replace", "delete")
        j += step in ("keep", "replace", "insert")
    return tuple(edits)
