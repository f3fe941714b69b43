"""Profiles of RAIN: the numbers of its search, how sets are drawn and rolled out, and what ends an answer.

`serving` is the method for a server: a set ends at the end-of-sequence token, and boundaries are token offsets, never marks
counted in text. `official_*` are the released code's rules in its three task folders.
"""

from dataclasses import dataclass, field
from typing import Literal

from trimtab.strategies.decoding.rain_tree import Rules

EndRule = Literal["set_ends", "answer_goes_on", "answer_ends", "answer_is_cut"]
Rollout = Literal["clause", "answer", "none"]
Task = Literal["hh", "adv", "truth"]

CLAUSE_ENDS = frozenset(",.?:;\n")
"""Characters behind which a rollout by clauses stops."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to search."""

    rules: Rules = field(default_factory=Rules)
    temperature: float = 1.0
    """At which sets are drawn, the greedy one aside."""
    top_k: int = 15
    """Most likely tokens among which each token of a set is drawn, and its probability renormalised."""
    spare_draws: int = 0
    """Draws for each set beyond one, to replace duplicates."""
    rollout: Rollout = "clause"
    """How far a leaf is continued before it is judged: to the end of the clause, of the answer, or not at all."""
    end: EndRule = "set_ends"
    """What the end-of-sequence token does. set_ends: no token of the set follows it and the answer ends there; the others let
    sets run past it: answer_goes_on: only the leaf is never expanded; answer_ends: the answer ends with the whole set;
    answer_is_cut: the answer ends with it."""
    turn_marks: tuple[str, ...] = ()
    """Strings that end the answer as the request's own stop strings do."""
    max_length: int | None = None
    """Tokens of prompt and answer beyond which nothing is expanded."""
    judged_to_full_stop: bool = False
    """Whether the judge sees the answer only up to its last full stop."""
    eager: bool = False
    """Whether a leaf is expanded when it is visited, not when it is selected through again."""

    def draws(self, wanted: int) -> int:
        """Sets drawn to have `wanted` different ones."""
        return wanted + self.spare_draws * (wanted + 1)


SERVING = Profile()

_OFFICIAL = Profile(end="answer_goes_on", turn_marks=("Human:",), max_length=2048, eager=True)

OFFICIAL: dict[Task, Profile] = {
    "hh": _OFFICIAL,
    "adv": Profile(
        rules=Rules(min_visits=5),
        temperature=2.0,
        spare_draws=1,
        end="answer_ends",
        turn_marks=("USER:",),
        max_length=2048,
        eager=True,
    ),
    "truth": Profile(
        rules=Rules(min_visits=16),
        rollout="answer",
        end="answer_is_cut",
        max_length=2048,
        judged_to_full_stop=True,
        eager=True,
    ),
}
"""The released code's task folders: red-team questions, adversarial suffixes, truthfulness.

Deviation: a turn mark counts in the answer alone, so that a user's own words cannot end it; the judges are this project's.
"""
