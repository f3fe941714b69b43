"""How numbers and texts are written in a report: rounded to what is known, and safe to show."""

import math
import re

ARROWS = {"higher": "↑ higher is better", "lower": "↓ lower is better", "neither": "no better side"}
SIGNS = {"better": "▲", "worse": "▼", "differs": "◆", "none": ""}
"""Beside a difference: significant and better, significant and worse, significant where no side is better."""
NOTHING = "–"
"""In a place without a number."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def number(value: float | None, *, digits: int | None = None, sign: bool = False) -> str:
    """A number of three significant figures, or of that many decimals."""
    if value is None or not math.isfinite(value):
        return NOTHING
    digits = decimals(value) if digits is None else digits
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    return text.replace("-", "−", 1)


def decimals(value: float) -> int:
    """Decimals that show three significant figures, at most four."""
    return 0 if value == 0 else min(4, max(0, 2 - math.floor(math.log10(abs(value)))))


def decimals_of(low: float | None, high: float | None) -> int:
    """Decimals that show two figures of half an interval's width; three where it has none."""
    reach = 0.0 if low is None or high is None else (high - low) / 2
    return min(6, max(0, 1 - math.floor(math.log10(reach)))) if 0 < reach < math.inf else 3


def interval(low: float | None, high: float | None, digits: int, *, sign: bool = False) -> str:
    """Both ends."""
    if low is None and high is None:
        return NOTHING
    return f"{number(low, digits=digits, sign=sign)} to {number(high, digits=digits, sign=sign)}"


def p_value(p: float) -> str:
    """A p-value as papers print it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def times(ratio: float | None) -> str:
    """A multiple."""
    return NOTHING if ratio is None else f"{number(ratio)}×"


def milliseconds(ms: float | None) -> str:
    """A duration."""
    if ms is None:
        return NOTHING
    return f"{number(ms)} ms" if ms < 1000 else f"{number(ms / 1000)} s"


def plain(text: str, *, most: int = 200) -> str:
    """A text in one line, with signs for control and direction characters that would hide or turn it."""
    line = _UNSEEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text.replace("\n", " ").replace("\t", " "))
    return line if len(line) <= most else line[: most - 1] + "…"
