"""Messages, prompts and deltas: what flows through a pipeline.

A prompt is one of two frozen shapes, a `Conversation` (rendered by the engine's chat template) or a `Text` (raw segments that
never pass a chat template). Neither knows an engine, a tokenizer or HTTP; a message keeps every field its sender gave it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

EMPTY: Mapping[str, Any] = MappingProxyType({})

TOOL_ROLES = frozenset({"tool", "function"})
SYSTEM_ROLES = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, in OpenAI's shape."""

    role: str
    """system, developer, user, assistant, tool or function."""
    content: str | tuple[Mapping[str, Any], ...] | None = None
    """A string, content parts as they came (`{"type": "text", ...}`), or None beside tool calls."""
    fields: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """Every other member of the wire object: tool_calls, tool_call_id, name, refusal, ..."""

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Message":
        """The message of an OpenAI message object; nothing of it is lost."""
        content = wire.get("content")
        return cls(
            role=wire["role"],
            content=tuple(content) if isinstance(content, list) else content,
            fields=MappingProxyType({k: v for k, v in wire.items() if k not in {"role", "content"}}),
        )

    def wire(self) -> dict[str, Any]:
        """The OpenAI message object."""
        content = list(self.content) if isinstance(self.content, tuple) else self.content
        return {"role": self.role, "content": content, **self.fields}

    @property
    def text(self) -> str:
        """The text of the content: parts joined without a separator, other parts left out, "" for None."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "".join(str(part.get("text", "")) for part in self.content if part.get("type") in {"text", "input_text"})


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat prompt: messages, and optionally the first words of the answer."""

    messages: tuple[Message, ...]
    prefill: str | None = None
    """The answer starts with this text and the engine continues it; it is part of the prompt, not of the answer."""
    asked: "Conversation | None" = None
    """What the user asked, before any strategy rendered it; None where nothing changed it."""

    @classmethod
    def from_wire(cls, messages: Iterable[Mapping[str, Any]]) -> "Conversation":
        """The conversation of a list of OpenAI message objects."""
        return cls(tuple(Message.from_wire(m) for m in messages))

    def wire(self) -> list[dict[str, Any]]:
        """The list of OpenAI message objects (without the prefill)."""
        return [message.wire() for message in self.messages]

    @property
    def original(self) -> "Conversation":
        """The conversation the user sent."""
        return self.asked or self

    @property
    def is_tool_turn(self) -> bool:
        """Whether the model is asked to go on after a tool's result."""
        return bool(self.messages) and self.messages[-1].role in TOOL_ROLES

    def changed(self, messages: Iterable[Message], prefill: str | None = None) -> "Conversation":
        """This conversation with other messages, remembering what was asked."""
        return Conversation(tuple(messages), prefill if prefill is not None else self.prefill, self.original)

    def with_system(self, *, before: str = "", after: str = "") -> "Conversation":
        """The same conversation with text before and after its leading system text, in one system turn.

        Templates that know a single system turn at the start stay usable: no second one is added.
        """
        lead = self.messages[0] if self.messages and self.messages[0].role in SYSTEM_ROLES else None
        rest = self.messages[1:] if lead else self.messages
        head = _around(lead or Message("system"), before, after)
        return self.changed((head, *rest)) if before or after else self

    def with_question(self, *, after: str) -> "Conversation":
        """The same conversation with text behind its last user turn. Raises ValueError where it has none."""
        place = max((at for at, message in enumerate(self.messages) if message.role == "user"), default=None)
        if place is None:
            raise ValueError("the conversation has no user turn")
        asked = _around(self.messages[place], "", after)
        return self.changed((*self.messages[:place], asked, *self.messages[place + 1 :]))


def _around(message: Message, before: str, after: str) -> Message:
    """A message with text put around its content; content parts stay parts."""
    if isinstance(message.content, tuple):
        parts: list[Mapping[str, Any]] = list(message.content)
        if before:
            parts.insert(0, {"type": "text", "text": f"{before}\n\n"})
        if after:
            parts.append({"type": "text", "text": f"\n\n{after}"})
        return replace(message, content=tuple(parts))
    return replace(message, content="\n\n".join(part for part in (before, message.content or "", after) if part))


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a raw prompt."""

    kind: Literal["literal", "content"]
    """`literal` may hold control tokens (written by this project or an operator); `content` never becomes one."""
    text: str


AnswerForm = Literal["raw", "trimmed", "fenced"]


@dataclass(frozen=True, slots=True)
class Text:
    """A raw prompt that never passes a chat template."""

    segments: tuple[Segment, ...]
    stops: tuple[str, ...] = ()
    """Strings that end the answer, beside the request's own."""
    add_bos: bool = True
    """Whether the tokenizer's beginning-of-sequence token (where it has one) comes first."""
    answer: AnswerForm = "raw"
    """raw: the answer is what the engine says; trimmed: without whitespace around it; fenced: trimmed, and without the code
    fence that closes it (its opening one ends the prompt)."""
    sampling: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    """Sampling parameters (temperature, repetition_penalty, ...) for those that a request leaves open."""
    asked: Conversation | None = None
    """What the user asked, before any strategy rendered it."""

    @property
    def text(self) -> str:
        """All segments joined."""
        return "".join(segment.text for segment in self.segments)


Prompt = Conversation | Text


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one or more engine calls."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens whose keys and values were reused."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of one choice of an answer; joined by index they are the answer."""

    index: int = 0
    """Which of the `n` choices."""
    text: str = ""
    finish_reason: str | None = None
    """stop, length, tool_calls or content_filter, on the last delta of the choice."""
    logprobs: tuple[Mapping[str, Any], ...] = ()
    """OpenAI entries `{token, logprob, bytes, top_logprobs}` of the tokens of this piece, where they were asked for."""
    fields: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """Other members of the wire delta: tool_calls, reasoning, refusal, ..."""
    token_ids: tuple[int, ...] = ()
    """The ids of this piece where the engine has tokens."""
    usage: Usage | None = None
    """Counts of the whole engine call, on its last delta; such a delta may carry nothing else."""
