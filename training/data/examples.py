"""What a view makes of a row: token ids and numbers, ready for a batch. It knows no text, tokenizer or tensor."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation of an example's prompt."""

    ids: tuple[int, ...]
    """Its tokens, the end-of-turn token included where the answer ended."""
    weights: tuple[float, ...] | None = None
    """How much each token counts, 0 = not at all; None: each counts 1."""
    score: float | None = None
    """Its reward or rating; higher is better."""
    label: bool | None = None
    """Whether it is wanted."""

    @property
    def counted(self) -> float:
        """Sum of the tokens' weights."""
        return float(len(self.ids)) if self.weights is None else float(sum(self.weights))


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with its continuations, in the order the method's view promises: (chosen, rejected), best first, and so on."""

    prompt: tuple[int, ...]
    branches: tuple[Branch, ...]
    preference: float = 1.0
    """Of a pair: probability that the first branch is the better one."""
    margin: float = 0.0
    """Of a pair: by how much the first should win."""
    weight: float = 1.0
    """Factor of its loss."""
    line: int = 0
    """Line (from 1) of the row it comes from; 0 = none."""

    @property
    def tokens(self) -> int:
        """Tokens computed when the branches share the prompt."""
        return len(self.prompt) + sum(len(branch.ids) for branch in self.branches)

    def apart(self) -> tuple["Example", ...]:
        """The same as one example a branch."""
        return tuple(replace(self, branches=(branch,)) for branch in self.branches)
