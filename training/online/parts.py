"""What an online run is handed, and what it asks about."""

from dataclasses import dataclass

from trimtab.training.data.examples import Example
from trimtab.training.online.protocols import Rollouts, Scores, Weights

Conversation = tuple[tuple[str, str], ...]
"""(role, content) turns."""


@dataclass(frozen=True, slots=True)
class OnlineParts:
    """The policy's engine and the judge of its answers."""

    rollouts: Rollouts
    scores: Scores
    weights: Weights


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the policy answers."""

    ids: tuple[int, ...]
    """Its tokens, the generation prompt included."""
    turns: Conversation
    """The same as a scorer reads it."""
    line: int = 0
    """Line (from 1) of its row; 0 = none."""
    demonstration: Example | None = None
    """The answer that its row holds."""
