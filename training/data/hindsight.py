"""Chain of Hindsight's view: answers behind a marker that says what they are worth; the answers count, the markers do not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trimtab.training.data.choices import preferences_of
from trimtab.training.data.examples import Example
from trimtab.training.data.rows import Preference, Row, Text, last_text
from trimtab.training.data.templates import Piece, RowTokenizer
from trimtab.training.data.tokens import Unusable, shared

Order = Literal["p", "n", "np", "pn"]
"""Which answers follow each other: p the better, n the worse."""


@dataclass(frozen=True, slots=True)
class Markers:
    """What stands before an answer, on a line of its own."""

    better: str
    worse: str


MARKERS = (Markers("This reply serves the person well:", "This reply serves the person badly:"),)
"""Our own wording. A served model is prompted with the better one."""


@dataclass(frozen=True, slots=True)
class Hindsight:
    """An example for each order of each pair; pairs that are ties give none.

    Source: Liu et al. 2023, arXiv 2302.02676, section 2.1. Deviation: markers of our own, several by turns where given.
    """

    markers: tuple[Markers, ...] = MARKERS
    orders: tuple[Order, ...] = ("p", "n", "np", "pn")

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A single branch each: from the first marker, which does not count, to the end of turn, which does."""
        pairs = [one for one in preferences_of(row) if one.p > 0.5]
        if not pairs:
            raise Unusable("does not say which of two responses is better")
        made = [(one, order, self._pieces(row, one, order)) for one in pairs for order in self.orders]
        return [
            replace(shared([tokenizer.marked(row.prompt, pieces)]), weight=_weight(row, one, order), line=row.line)
            for one, order, pieces in made
        ]

    def _pieces(self, row: Row, pair: Preference, order: Order) -> list[Piece]:
        markers = self.markers[(row.line + self.orders.index(order)) % len(self.markers)]
        said = {
            "p": (markers.better, _answer(row.responses[pair.a].content)),
            "n": (markers.worse, _answer(row.responses[pair.b].content)),
        }
        opening = "" if isinstance(row.prompt, tuple) else "\n"
        pieces: list[Piece] = []
        for which in order:
            marker, answer = said[which]
            pieces += [(f"{opening}{marker}\n", False), (answer, True)]
            opening = "\n\n"
        return pieces


def _answer(content: Text) -> str:
    if not isinstance(content, str) and len(content) > 1:
        raise Unusable("an answer of several turns cannot stand behind a marker")
    return last_text(content).strip()


def _weight(row: Row, pair: Preference, order: Order) -> float:
    places = [pair.a if which == "p" else pair.b for which in order]
    return sum(row.responses[place].weight for place in places) / len(places)
