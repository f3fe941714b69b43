"""The token ids of the letters A and B behind a judge's prompt, derived from the tokenizer and checked, never assumed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.prompts.judge import LAYOUTS, LETTERS, Layout, Letter

Encode = Callable[[str], Sequence[int]]
"""The ids of a prompt that ends with the given text."""


@dataclass(frozen=True, slots=True)
class Letters:
    """A layout under which each letter is one token of its own, and those tokens."""

    layout: Layout
    a: int
    b: int

    def of(self, letter: Letter) -> int:
        """The id of a letter."""
        return self.a if letter == "A" else self.b


def letters_of(encode: Encode) -> Letters:
    """The first layout that a tokenizer can do: either letter adds one id of its own to the prompt's, and changes none of them.

    Raises MissingCapability where no layout works: then no token could be read as the judge's answer.
    """
    reasons = []
    for layout in LAYOUTS:
        prompt = tuple(encode(layout.tail))
        longer = [tuple(encode(f"{layout.tail}{layout.before}{letter}")) for letter in LETTERS]
        if all(ids[:-1] == prompt for ids in longer) and longer[0] != longer[1]:
            return Letters(layout, longer[0][-1], longer[1][-1])
        reasons.append(f"{layout.tail + layout.before!r} is {prompt}, with the letters it is {longer[0]} and {longer[1]}")
    raise MissingCapability(
        "self-evaluation reads one token A or B behind its prompt, and the judge's tokenizer merges the letters with what "
        f"stands before them: {'; '.join(reasons)}. Configure another engine for the role 'judge', or another value"
    )
