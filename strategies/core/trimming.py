"""Answers to raw prompts, trimmed: whitespace around them and a closing fence are taken off, whatever pieces they come in.

An answer may hold code blocks of its own; their fences stay. A bare fence at the very end closes the answer unless a block is
still open there, then it is that block's.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from trimtab.strategies.core.messages import AnswerForm, Delta

LEAST = 3
"""Backticks that make a fence."""
_FENCE = re.compile(r" {0,3}(`{3,})([^`]*)\Z")


@dataclass(slots=True)
class TrimmedAnswer:
    """One answer as it comes. Holds back whitespace and what may turn out to be the closing fence; nothing else."""

    fenced: bool = True
    """Whether a fence closes it."""
    _held: str = ""
    _line: str = ""
    """The part of the last line that has been let go."""
    _open: int = 0
    """Backticks of the fence of the code block that is open, 0 outside of blocks."""
    _begun: bool = False

    def push(self, text: str) -> str:
        """What may be shown now."""
        text = self._held + text
        text = text if self._begun else text.lstrip()
        self._begun = self._begun or bool(text)
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
        if self.fenced:
            *lines, self._line = (self._line + text).split("\n")
            for line in lines:
                self._note(line)
        return text

    def _note(self, line: str) -> None:
        fence = _FENCE.match(line)
        if fence is None:
            return
        ticks, info = len(fence[1]), fence[2].strip()
        if not self._open:
            self._open = ticks
        elif ticks >= self._open and not info:
            self._open = 0

    def _end_of_answer(self, text: str) -> int:
        """Where the longest end of the text begins that is whitespace around at most one fence (or the start of one)."""
        end = ticks = _before_space(text, len(text))
        while self.fenced and ticks and text[ticks - 1] == "`":
            ticks -= 1
        indent = ticks
        while indent and text[indent - 1] == " ":
            indent -= 1
        starts_line = text[indent - 1] == "\n" if indent else not self._line
        may_close = end == len(text) or end - ticks >= LEAST
        return _before_space(text, indent) if ticks < end and starts_line and may_close else end


def _before_space(text: str, end: int) -> int:
    """Where the whitespace before `end` begins."""
    while end and text[end - 1].isspace():
        end -= 1
    return end


async def trimmed(stream: AsyncGenerator[Delta, None], form: AnswerForm) -> AsyncGenerator[Delta, None]:
    """The deltas of an answer in this form, each choice by itself. Token ids and log-probabilities stay where they came."""
    answers: dict[int, TrimmedAnswer] = {}
    async with aclosing(stream):
        async for delta in stream:
            if form == "raw":
                yield delta
                continue
            answer = answers.setdefault(delta.index, TrimmedAnswer(fenced=form == "fenced"))
            text = answer.push(delta.text)
            if delta.finish_reason:
                text += answer.finish(cut=delta.finish_reason == "length")
            yield delta if text == delta.text else replace(delta, text=text)
