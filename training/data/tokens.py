"""Token ids with weights, and how several such sequences become one example with a shared prompt."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from trimtab.training.data.examples import Branch, Example
from trimtab.training.errors import DataError


class Unusable(DataError):
    """A row of which a view can make no example; it is left out and counted, and the message is the reason."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A whole sequence, its prompt included."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    """How much each token counts, 0 = not at all."""

    @property
    def uncounted(self) -> int:
        """Tokens before the first that counts."""
        return next((place for place, weight in enumerate(self.weights) if weight), len(self.weights))

    def floored(self, weight: float) -> "Tokens":
        """The same with every token that did not count at this weight."""
        return replace(self, weights=tuple(own or weight for own in self.weights))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as tokens that know which characters they stand for."""

    text: str
    ids: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    """Non-decreasing, like `starts`: a token that ends after a character belongs to what follows it."""

    def place(self, character: int) -> int:
        """The first token that holds anything from this character on."""
        return bisect_right(self.ends, character)

    def within(self, start: int, end: int) -> range:
        """The tokens that hold any character from `start` to before `end`."""
        return range(self.place(start), max(self.place(start), bisect_left(self.starts, end)))


def shared(sequences: Sequence[Tokens]) -> Example:
    """One example: what all sequences begin with and none counts is the prompt, the rest of each is a branch.

    A prompt holds at least one token, as the first token of a branch is predicted from it; so of a single sequence that counts
    from its first token on, that token is the prompt. Uncounted tokens at a branch's end are left out. Raises Unusable.
    """
    if any(not any(one.weights) for one in sequences):
        raise Unusable("the chat template renders nothing of an answer")
    common = common_length(one.ids for one in sequences)
    size = min(common, *(one.uncounted for one in sequences))
    if size == 0 and len(sequences) > 1:
        raise Unusable("its prompt holds no token that all answers share")
    size = max(size, 1)
    if any(not any(one.weights[size:]) for one in sequences):
        raise Unusable("an answer is a single token without anything before it")
    return Example(sequences[0].ids[:size], tuple(_branch(one, size) for one in sequences))


def common_length(sequences: Iterable[Sequence[int] | str]) -> int:
    """How many elements all sequences begin with."""
    size = 0
    for column in zip(*sequences, strict=False):
        if any(element != column[0] for element in column):
            break
        size += 1
    return size


def _branch(tokens: Tokens, size: int) -> Branch:
    end = len(tokens.weights)
    while not tokens.weights[end - 1]:
        end -= 1
    weights = tokens.weights[size:end]
    return Branch(tokens.ids[size:end], None if set(weights) == {1.0} else weights)
