"""The closing fence of an answer that stands between code fences: taken off its end, whatever pieces the answer comes in.

An answer may hold code blocks of its own; their fences stay. A bare fence at the very end closes the answer unless a block is
still open there, then it is that block's.
"""

import re
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from trimtab.strategies.core.messages import Delta

LEAST = 3
"""Backticks that make a fence."""
_FENCE = re.compile(r" {0,3}(`{3,})([^`]*)\Z")


@dataclass(slots=True)
class ClosingFence:
    """One answer as it comes. Holds back whitespace and what may turn out to be the closing fence; nothing else."""

    _held: str = ""
    _line: str = ""
    """The part of the last line that has been let go."""
    _open: int = 0
    """Backticks of the fence of the code block that is open, 0 outside of blocks."""

    def push(self, text: str) -> str:
        """What may be shown now."""
        text = self._held + text
        start = self._end_of_answer(text)
        self._held = text[start:]
        return self._let_go(text[:start])

    def finish(self, *, cut: bool = False) -> str:
        """The rest, at the end. cut: the answer was ended by a limit, so that whitespace at its end is its own."""
        held, self._held = self._held, ""
        ticks = held.strip()
        if len(ticks) < LEAST:
            return held if cut or ticks else ""
        self._let_go("\n" if "\n" in held[: held.index("`")] else "")
        return held.rstrip() if self._open else ""

    def _let_go(self, text: str) -> str:
        """Take note of the blocks that the text opens and closes."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            fence = _FENCE.match(line)
            if fence is None:
                continue
            ticks, info = len(fence[1]), fence[2].strip()
            if not self._open:
                self._open = ticks
            elif ticks >= self._open and not info:
                self._open = 0
        return text

    def _end_of_answer(self, text: str) -> int:
        """Where the longest end of the text begins that is whitespace around at most one fence (or the start of one)."""
        end = _before_space(text, len(text))
        ticks = end
        while ticks and text[ticks - 1] == "`":
            ticks -= 1
        indent = ticks
        while indent and text[indent - 1] == " ":
            indent -= 1
        starts_line = text[indent - 1] == "\n" if indent else not self._line
        is_open = end == len(text) or end - ticks >= LEAST
        if ticks == end or not starts_line or not is_open:
            return end
        return _before_space(text, indent)


def _before_space(text: str, end: int) -> int:
    """Where the whitespace before `end` begins."""
    while end and text[end - 1].isspace():
        end -= 1
    return end


async def unfenced(stream: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """The deltas of an answer, each choice without its closing fence. Token ids and log-probabilities stay where they came."""
    answers: defaultdict[int, ClosingFence] = defaultdict(ClosingFence)
    async with aclosing(stream):
        async for delta in stream:
            text = answers[delta.index].push(delta.text)
            if delta.finish_reason:
                text += answers[delta.index].finish(cut=delta.finish_reason == "length")
            yield delta if text == delta.text else replace(delta, text=text)
