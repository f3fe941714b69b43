"""What a chat template writes around turns, learned by rendering a probe: no template is searched for marks of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.training.data.rows import Turn
from trimtab.training.data.tokens import Unusable
from trimtab.training.errors import ModelError

Render = Callable[[Sequence[Turn], bool], str]
"""Turns and whether a generation prompt follows -> text. Raises Unusable where the template refuses."""

_QUESTION, _ANSWER, _NEXT = "probe question", "probe answer", "probe reply"


@dataclass(frozen=True, slots=True)
class Endings:
    """How an assistant's turn ends."""

    last: int | None
    """Id of the token that ends the last turn; None where the template writes none."""
    middle: int | None
    """The same of a turn that others follow."""
    tail: str
    """All that the template writes after the last turn's content."""
    written: str
    """A whole probe: the template's own strings stand in it."""


def endings_of(render: Render, ids_of: Callable[[str], Sequence[int]], added: frozenset[int]) -> Endings:
    """The endings of a template. added: ids of the tokens that text cannot form. Raises ModelError."""
    asked, answered = (Turn("user", _QUESTION),), Turn("assistant", _ANSWER)
    try:
        whole = render((*asked, answered), False)
        header = render(asked, True).removeprefix(render(asked, False))
        longer = render((*asked, answered, Turn("user", _NEXT)), True)
    except Unusable as error:
        raise ModelError(f"the chat template fails on a question with its answer: {error}") from error
    if _ANSWER not in whole or _ANSWER not in longer or _NEXT not in longer:
        raise ModelError("the chat template does not write out what was said; give another with --chat-template FILE")
    tail = whole.rpartition(_ANSWER)[2]
    between = longer.rpartition(_ANSWER)[2].partition(_NEXT)[0]
    opening = frozenset(ids_of(header))

    def first(text: str) -> int | None:
        """The first added token of a text, unless it is one with which the assistant's next turn would begin."""
        found = next((token for token in ids_of(text) if token in added), None)
        return None if found in opening else found

    return Endings(first(tail), first(between), tail, longer + whole)
