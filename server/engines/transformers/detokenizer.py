"""Ids to text, one id at a time: no character before its last byte, no leading space lost."""

from collections.abc import Callable, Sequence

CONTEXT_TOKENS = 6
"""Prompt tokens the first new token is decoded after; some tokenizers strip the space of a first token."""

LONGEST_WINDOW = 32
"""Ids without text (control tokens) after which the window moves on all the same."""

UNFINISHED = "\ufffd"
LONGEST_UNFINISHED = 3
"""A character lacks at most this many bytes, each of which may be shown as one replacement character."""

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """The text of a growing list of ids. Each call decodes a few ids, however long the answer is."""

    __slots__ = ("_base", "_decode", "_read", "_shown", "_window")

    def __init__(self, decode: Decode, prompt_ids: Sequence[int]) -> None:
        self._decode = decode
        self._window = list(prompt_ids[-CONTEXT_TOKENS:])
        self._read = len(self._window)
        self._base = decode(self._window)
        self._shown = len(self._base)

    def push(self, token_id: int) -> str:
        """The characters that this id completes."""
        self._window.append(token_id)
        text = self._decode(self._window)
        settled = len(text) - _unfinished(text)
        new = text[self._shown : settled]
        self._shown = max(self._shown, settled)
        if settled == len(text) and (new or len(self._window) > LONGEST_WINDOW):
            self._advance()
        return new

    def _advance(self) -> None:
        """Forgets the ids before those of the last piece."""
        self._window = self._window[self._read :]
        self._read = len(self._window)
        self._shown = len(self._decode(self._window))


def _unfinished(text: str) -> int:
    """Replacement characters at the end that a later byte may still turn into a character."""
    count = 0
    while count < min(LONGEST_UNFINISHED, len(text)) and text[-1 - count] == UNFINISHED:
        count += 1
    return count
