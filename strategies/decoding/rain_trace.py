"""The account of a search: numbers for the summary, and the tree behind each move, bounded, for a full trace."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trimtab.strategies.decoding.rain_search import Move, Search
from trimtab.strategies.decoding.rain_tree import Node

MAX_MOVES = 256
"""Moves whose trees are kept."""
MAX_NODES = 32
"""Nodes shown of one move's tree."""
MAX_DEPTH = 3
"""Levels shown below a root."""
MAX_TEXT = 120
"""Characters shown of a node."""


@dataclass(slots=True)
class Log:
    """What one search did."""

    search: Search
    full: bool
    """Whether the trees are kept."""
    moves: list[dict[str, Any]] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    """Value of each committed move."""

    def add(self, move: Move) -> None:
        """Take in a move. May block: the tokenizer may be another server's."""
        if move.tokens:
            self.values.append(round(move.chosen.value, 4))
        if self.full and len(self.moves) < MAX_MOVES:
            left = [MAX_NODES]
            self.moves.append(
                {
                    "text": self._text(move.tokens),
                    "iterations": move.iterations,
                    "candidates": self._children(move.root, MAX_DEPTH, left, move.chosen),
                }
            )

    def summary(self) -> Mapping[str, Any]:
        """The numbers."""
        return {
            **asdict(self.search.counts),
            "tokens_forwarded": self.search.sampler.forwarded.tokens,
            "values": self.values,
        }

    def _children(self, node: Node, depth: int, left: list[int], chosen: Node | None = None) -> list[dict[str, Any]]:
        """The visited children of a node, and below them theirs, until the bounds are reached."""
        shown = []
        for child in node.children.values():
            if left[0] <= 0 or depth == 0:
                break
            if not child.real_visits and child is not chosen:
                continue
            left[0] -= 1
            below = self._children(child, depth - 1, left)
            shown.append(
                {
                    "text": self._text(child.tokens),
                    "visits": round(child.visits, 4),
                    "real_visits": child.real_visits,
                    "value": round(child.value, 4),
                    "prior": round(child.prior, 4),
                    **({"chosen": True} if child is chosen else {}),
                    **({"candidates": below} if below else {}),
                }
            )
        return shown

    def _text(self, tokens: tuple[int, ...]) -> str:
        return self.search.wording.decode(tokens)[:MAX_TEXT]
