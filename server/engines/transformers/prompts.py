"""Prompts to ids: conversations through the chat template, raw text as it is; what the template cannot honour is refused."""

from collections.abc import Mapping
from typing import Any

from trimtab.server.engines.encoding import ChatEncoder
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import EMPTY, Conversation, Message, Text

HINTS = frozenset({"parallel_tool_calls", "reasoning_effort"})
"""Native fields that may be left unheeded."""


class PromptEncoder:
    """The prompts of one model."""

    def __init__(self, encoder: ChatEncoder, *, name: str, has_template: bool) -> None:
        self._encoder = encoder
        self._name = name
        self.has_template = has_template

    def conversation(self, conversation: Conversation, native: Mapping[str, Any] = EMPTY) -> tuple[int, ...]:
        """The ids of a conversation, open for the answer, or for what follows its prefill. Raises RequestRefused."""
        self.check(native)
        messages = conversation.wire()
        if conversation.prefill is not None:
            messages.append(Message("assistant", conversation.prefill).wire())
        return self.messages(
            messages,
            tools=None if native.get("tool_choice") == "none" else native.get("tools"),
            continue_final_message=conversation.prefill is not None,
            template_kwargs=native.get("chat_template_kwargs"),
        )

    def messages(self, messages: list[dict[str, Any]], **how: Any) -> tuple[int, ...]:
        """The ids of message objects; `how` as in `ChatEncoder.encode`. Raises RequestRefused."""
        if not self.has_template:
            raise RequestRefused(
                f"{self._name} is a base model: it has no chat template, so a conversation cannot be rendered. Use "
                "/v1/completions, or configure a chat_template for it.",
                param="messages",
            )
        return self._encoder.encode(messages, **how).ids

    def body(self, body: Mapping[str, Any]) -> tuple[int, ...]:
        """The ids of a chat or tokenize body."""
        return self.messages(
            list(body["messages"]),
            tools=body.get("tools"),
            add_generation_prompt=body.get("add_generation_prompt", True),
            continue_final_message=body.get("continue_final_message", False),
            template_kwargs=body.get("chat_template_kwargs"),
        )

    def text(self, text: Text) -> tuple[int, ...]:
        """The ids of a raw prompt."""
        return tuple(self._encoder.encode_text([(s.kind, s.text) for s in text.segments], add_bos=text.add_bos))

    def check(self, native: Mapping[str, Any]) -> None:
        """Raises RequestRefused for a native field that this engine cannot honour."""
        for field, value in native.items():
            if not _honoured(field, value):
                refusal = f"The transformers engine cannot honour {field}={str(value)[:80]!r}."
                raise RequestRefused(refusal, param=field, code="unsupported_parameter")


def _honoured(field: str, value: Any) -> bool:
    if field == "response_format":
        return isinstance(value, Mapping) and value.get("type", "text") == "text"
    if field == "tool_choice":
        return value in ("none", "auto")
    return field in HINTS or field in {"tools", "chat_template_kwargs"} or not value
