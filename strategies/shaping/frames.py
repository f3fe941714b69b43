"""The two published structures of a URIAL prompt: headed turns between code fences, around texts that cannot break out.

A text keeps every character but two kinds: a fence inside it is answered by a longer fence around it, and a line that reads as
one of the frame's own headers gets a backslash before its `#`. So the number of headers and fences in a rendered prompt is the
number of its turns, whatever the texts say.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from trimtab.strategies.core.messages import Segment
from trimtab.strategies.shaping.turns import Speaker, Turn

StructureName = Literal["block", "inline"]

HEADERS: dict[Speaker, str] = {"system": "# Context:", "user": "# Query:", "assistant": "# Answer:"}
STOPS = ("\n# Query:", "\n# Answer:", "\n# Question:")
"""What a base model writes behind the answer's closing fence: the next header, or one that it takes for such. Three, because
some servers take four stop strings at most, and one is the request's."""
STOPS_IN_CONTEXT = ("\n# Query:", "\n# Answer:", "\n# Context:")
"""The same where the prompt shows the model a context's header."""

_LEAST = 3
_TICKS = re.compile(r"`+")
_LINE_START = r"(?:^|(?<=[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]))"


def header_lines(*headers: str) -> re.Pattern[str]:
    """What finds the lines of a text that begin, after spaces, with one of these regular expressions."""
    return re.compile(rf"{_LINE_START}([^\S\n]*)({'|'.join(headers)})", re.IGNORECASE)


_HEADER = header_lines(r"#+[^\S\n]*(?:Query|Answer|Context|User|Assistant)[^\S\n]*:")


@dataclass(frozen=True, slots=True)
class Frame:
    """How turns are written down.

    Source: Lin et al. 2023, arXiv 2312.01552, and its released prompts (`inst_1k_v4`: block, `inst_1k`: inline).
    Deviation: longer fences and backslashes as said above (released: none, so a query could end itself); a system turn, which
    the released prompts do not know, stands under a header of its own.
    """

    structure: StructureName = "block"
    """block: every text on lines of its own between fences; inline: a query on one line with its fences (legacy)."""

    def turns(self, turns: Iterable[Turn]) -> Iterator[Segment]:
        """The pieces of turns, each beginning with a line break; the frame is literal, what was said is content."""
        for turn in turns:
            text = escaped(turn.text)
            opening, closing = self._fences(turn.speaker, text)
            yield Segment("literal", f"\n{HEADERS[turn.speaker]}\n{opening}")
            yield Segment("content", text)
            yield Segment("literal", closing)

    def answer(self, prefill: str | None) -> Iterator[Segment]:
        """The open answer, begun with the prefill."""
        yield Segment("literal", f"\n{HEADERS['assistant']}\n{'`' * _LEAST}\n")
        if prefill:
            yield Segment("content", prefill)

    def prefix(self, system: str, examples: Iterable[tuple[str, str]]) -> str:
        """The constant head of every prompt: the system text and examples, each a query and its answer."""
        turns = (turn for query, answer in examples for turn in (Turn("user", query), Turn("assistant", answer)))
        whole = f"{system}\n" + "".join(segment.text for segment in self.turns(turns))
        return whole if self.structure == "block" else whole.removesuffix("\n")

    def _fences(self, speaker: Speaker, text: str) -> tuple[str, str]:
        fence = fence_around(text)
        if self.structure == "block" or speaker != "user":
            return f"{fence}\n", f"\n{fence}\n"
        return (f"{fence} " if text[:1] in {"", "`"} else fence), (f" {fence}\n" if text.endswith("`") else f"{fence}\n")


def fence_around(text: str) -> str:
    """A fence longer than every run of backticks inside."""
    return "`" * max(_LEAST, 1 + max((len(run) for run in _TICKS.findall(text)), default=0))


def escaped(text: str, headers: re.Pattern[str] = _HEADER) -> str:
    """The text with a backslash before what begins a line as a header of the frame does."""
    return headers.sub(r"\1\\\2", text)
