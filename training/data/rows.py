"""The one row schema of training data: a prompt, answers, preferences among them. It knows no file, tokenizer or method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["system", "developer", "user", "assistant", "tool"]
Kind = Literal["sample", "gold", "chosen", "rejected", "revision", "original", "red", "blue"]
ROLES: tuple[Role, ...] = get_args(Role)
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says."""

    role: Role
    content: str


Text = str | tuple[Turn, ...]
"""Plain text, which never passes a chat template, or a conversation, which always does."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer to a row's prompt."""

    content: Text
    """Of a conversational prompt: one assistant turn as text, or several turns that begin with an assistant's."""
    score: float | None = None
    """Reward or rating; higher is better."""
    rank: int | None = None
    """Place in an order, the lowest is the best; equal places are ties."""
    label: bool | None = None
    """Whether it is wanted."""
    kind: Kind | None = None
    """Where it comes from."""
    feedback: str | None = None
    """What was said about it, such as a critique."""
    weight: float = 1.0
    """Factor of its loss; 0 keeps it in the file and out of training."""


@dataclass(frozen=True, slots=True)
class Preference:
    """A judgement between two responses of a row."""

    a: int
    """Place of the one said to be better."""
    b: int
    p: float = 1.0
    """Probability that `a` is the better one."""
    margin: float = 0.0
    """By how much `a` should win."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt with its answers."""

    id: str
    prompt: Text
    """Plain text, or turns whose last is the user's. Empty text: the response is a whole text."""
    responses: tuple[Response, ...] = ()
    preferences: tuple[Preference, ...] = ()
    line: int = 0
    """Line of its file, or place in its data set, from 1; 0 = none."""


def conversation_of(prompt: tuple[Turn, ...], content: Text) -> tuple[Turn, ...]:
    """The prompt's turns and the answer's."""
    answer = (Turn("assistant", content),) if isinstance(content, str) else content
    return (*prompt, *answer)


def last_text(content: Text) -> str:
    """An answer in one string: plain text itself, or the last assistant turn's; empty where there is none."""
    if isinstance(content, str):
        return content
    return next((turn.content for turn in reversed(content) if turn.role == "assistant"), "")


def shared_prefix(first: Sequence[Turn], second: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns with which both begin."""
    shared: list[Turn] = []
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        shared.append(a)
    return tuple(shared)
