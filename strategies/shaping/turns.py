"""What a raw prompt can show of a conversation: turns of text. Whatever else a conversation holds is refused by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import SYSTEM_ROLES, Conversation, Message

Speaker = Literal["system", "user", "assistant"]
TEXT_PARTS = frozenset({"text", "input_text"})


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was said."""

    speaker: Speaker
    text: str


def turns_of(conversation: Conversation, *, by: str) -> tuple[Turn, ...]:
    """The turns of a conversation, in order; a developer speaks as the system.

    by: the strategy that asks, for the message. Raises RequestRefused for tool calls, tool results, images and other parts.
    """
    return tuple(_turn(message, place, by) for place, message in enumerate(conversation.messages))


def _turn(message: Message, place: int, by: str) -> Turn:
    for what in _unspeakable(message):
        raise RequestRefused(
            f"{what} cannot be shown: {by} renders a raw prompt, which holds turns of text only",
            param=f"messages.{place}",
            code="unsupported_parameter",
        )
    speaker: Speaker = "system" if message.role in SYSTEM_ROLES else "user" if message.role == "user" else "assistant"
    return Turn(speaker, message.text)


def _unspeakable(message: Message) -> Iterator[str]:
    """What of a message is no text."""
    if message.role not in {*SYSTEM_ROLES, "user", "assistant"}:
        yield f"a message of the role {message.role!r}"
    yield from (f"{name} of a message" for name in ("tool_calls", "function_call") if message.fields.get(name))
    for part in message.content if isinstance(message.content, tuple) else ():
        if part.get("type") not in TEXT_PARTS:
            yield f"a content part of the type {str(part.get('type'))[:40]!r}"
