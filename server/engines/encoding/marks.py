"""Marks in a client's strings that survive a chat template and show afterwards which characters were the client's.

A mark is one private-use character that occurs nowhere in the request. Templates trim, split and JSON-encode strings; marks
lie inside the trimmed part and are no white space, so the rendering without its marks is the rendering of the real strings.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from trimtab.server.engines.encoding.scan import Scanner


@dataclass(frozen=True, slots=True)
class Mark:
    """A character that occurs nowhere else, in both forms a template may write it."""

    character: str

    @classmethod
    def absent_from(cls, texts: Iterable[str]) -> "Mark | None":
        """A mark that none of the texts holds, plain or as a JSON escape; None where all 137,000 are taken."""
        joined = "\x00".join(texts)
        for code in chain(range(0xE000, 0xF8FF), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE)):
            mark = cls(chr(code))
            if mark.character not in joined and mark.escaped not in joined:
                return mark
        return None

    @property
    def escaped(self) -> str:
        r"""The mark as JSON in ASCII writes it, `\ue000`."""
        return json.dumps(self.character)[1:-1]

    def removed_from(self, text: str) -> str:
        """The text without marks."""
        return text.replace(self.character, "").replace(self.escaped, "")

    def dense(self, text: str) -> str:
        """The text with marks between all its characters and at both ends, inside the white space around it."""
        core = text.strip()
        if not core:
            return text
        start = text.index(core)
        inner = self.character.join(core)
        return f"{text[:start]}{self.character}{inner}{self.character}{text[start + len(core) :]}"

    def sparse(self, text: str, scanner: Scanner, kept: frozenset[str] = frozenset()) -> str:
        """The text with a mark inside each control string but `kept`, and where its end begins or its start ends one.

        For templates that look into content for other strings than these.
        """
        pieces, at = [], 0
        for match in scanner.matches(text):
            if match[0] not in kept:
                pieces.append(text[at : match.start() + 1])
                at = match.start() + 1
        broken = self.character.join([*pieces, text[at:]])
        core = broken.strip()
        start = broken.index(core)
        before = self.character if scanner.ends_at_start(text) else ""
        after = self.character if scanner.begins_at_end(text) else ""
        return f"{broken[:start]}{before}{core}{after}{broken[start + len(core) :]}"
