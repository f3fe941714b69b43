"""The text of an answer that is known as token ids: what ends it, and how much of a begun one may already be shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.strategies.decoding.rain_priors import Tokens
from trimtab.strategies.decoding.rain_profile import CLAUSE_ENDS, Profile

FinishReason = Literal["stop", "length"]
Decode = Callable[[Sequence[int]], str]

CONTEXT_TOKENS = 6
"""Prompt tokens that an answer is decoded behind: some tokenizers strip the space of a first token."""
UNFINISHED = "\ufffd"
ANSWER_TOKENS = 2048
"""Longest answer where neither the request nor a context window limits it: the released code's."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Turns the ids behind a prompt into text and knows where an answer ends.

    Its methods may block: the tokenizer may be another server's.
    """

    decode: Decode
    prompt: Tokens
    profile: Profile
    eos: frozenset[int]
    """Ids that end an answer; they have no text."""
    stops: tuple[str, ...]
    """Strings that end an answer and are left out of it, turn marks included."""
    room: int
    """Longest answer in tokens."""
    complete: int
    """Tokens from which an answer counts as complete, at most `room`."""

    def text(self, answer: Tokens) -> str:
        """The answer's text up to the first stop string."""
        return cut_at(self.raw(answer), self.stops)

    def raw(self, answer: Tokens) -> str:
        """The text of the ids, stop strings and all."""
        if self.profile.end in {"set_ends", "answer_is_cut"} and answer and answer[-1] in self.eos:
            answer = answer[:-1]
        tail = self.prompt[-CONTEXT_TOKENS:]
        return self.decode((*tail, *answer))[len(self.decode(tail)) :]

    def may_roll_out(self, answer: Tokens, *, ended: bool) -> bool:
        """Whether a leaf is carried on before it is judged.

        Not behind its end (where that is an end-of-sequence token, the released rules of hh and adv go on), and by clauses not
        where the text of prompt and answer stops with one.
        """
        profile = self.profile
        if profile.rollout == "none" or len(answer) >= self.complete:
            return False
        if ended and (profile.end not in {"answer_goes_on", "answer_ends"} or self._stopped(answer)):
            return False
        at_end = profile.rollout == "clause" and self.decode((*self.prompt, *answer)[-CONTEXT_TOKENS:])[-1:] in CLAUSE_ENDS
        return not at_end

    def leaf_ends(self, answer: Tokens, last: Tokens) -> bool:
        """Whether nothing can follow a leaf. last: the leaf's own set."""
        if len(answer) >= self.complete or any(token in self.eos for token in last):
            return True
        return bool(self.stops) and self._stopped(answer)

    def finish(self, answer: Tokens, last: Tokens) -> FinishReason | None:
        """Why a committed answer is complete; None where it goes on."""
        if self.profile.end != "answer_goes_on" and any(token in self.eos for token in last):
            return "stop"
        if self.stops and self._stopped(answer):
            return "stop"
        return "length" if len(answer) >= self.complete else None

    def committed(self, move: Tokens) -> Tokens:
        """The part of a move that becomes the answer's."""
        if self.profile.end != "answer_is_cut":
            return move
        end = next((place for place, token in enumerate(move) if token in self.eos), len(move))
        return move[: end + 1]

    def judged(self, answer: Tokens) -> str:
        """What a judge is shown of a rolled-out answer."""
        text = self.text(answer)
        head, stop, _ = text.rpartition(".")
        return f"{head}{stop}" if self.profile.judged_to_full_stop and stop else text

    def _stopped(self, answer: Tokens) -> bool:
        raw = self.raw(answer)
        return any(stop in raw for stop in self.stops)


@dataclass(slots=True)
class Spoken:
    """What of a growing answer may be shown: nothing that a later token could still change or cut away."""

    stops: tuple[str, ...]
    shown: str = ""

    def more(self, raw: str, *, final: bool) -> str:
        """What to show now of the whole raw text so far; at the end everything before the first stop string."""
        text = cut_at(raw, self.stops)
        if not final:
            text = text.rstrip(UNFINISHED)
            text = text[: len(text) - begun_stop(text, self.stops)]
        if not text.startswith(self.shown):
            return ""
        new = text[len(self.shown) :]
        self.shown = text
        return new


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string in it."""
    found = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return text[: min(found)] if found else text


def begun_stop(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of the text that a stop string starts with."""
    longest = max(map(len, stops), default=0)
    sizes = range(min(longest - 1, len(text)), 0, -1)
    return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in stops)), 0)
