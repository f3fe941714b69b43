"""Paired measurements: medians of ratios, with their spread."""

from collections.abc import Sequence
from statistics import median


def ratio_line(title: str, ours: Sequence[float], theirs: Sequence[float], goal: str, *, inverse: bool = False) -> str:
    """One line: the median of the rounds' ratios ours/theirs, their range, both medians, and the goal.

    inverse: theirs/ours, how many times less ours is.
    """
    ratios = [b / a if inverse else a / b for a, b in zip(ours, theirs, strict=True)]
    spread = f"{min(ratios):.3f}-{max(ratios):.3f}"
    return (
        f"{title:<34} ratio {median(ratios):6.3f}  ({spread}, {len(ratios)} rounds)  "
        f"ours {median(ours):10.3f}  theirs {median(theirs):10.3f}  goal {goal}"
    )


def difference_line(title: str, ours: Sequence[float], theirs: Sequence[float], unit: str, goal: str) -> str:
    """One line: the median of the rounds' differences ours - theirs, their range, both medians, and the goal."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    spread = f"{min(differences):+.3f} to {max(differences):+.3f}"
    return (
        f"{title:<34} added {median(differences):+6.3f} {unit} ({spread}, {len(differences)} rounds)  "
        f"ours {median(ours):9.3f}  theirs {median(theirs):9.3f}  goal {goal}"
    )
