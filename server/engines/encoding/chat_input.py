"""What a chat template is given, seen as a tree of strings that a client wrote.

Names that the template itself compares with (roles, part types, JSON schema words in their places) are not content.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.server.engines.encoding.scan import words

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_TYPES = words(
    "text input_text image image_url input_audio audio video file refusal function "
    "object string number integer boolean array null"
)
_MEMBERS = words(
    "role content type text name tool_calls tool_call_id function id arguments description parameters properties required "
    "items enum default strict reasoning reasoning_content refusal title anyOf oneOf allOf additionalProperties"
)

Change = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ChatInput:
    """The client's part of a rendering: messages, tools and template variables, as plain JSON values."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    def strings(self) -> list[str]:
        """Every string a client wrote, member names of arguments and schemas included."""
        found: list[str] = []
        for tree in (self.messages, self.tools, self.variables):
            if tree:
                _collect(tree, found)
        return found

    def changed(self, change: Change) -> "ChatInput":
        """A copy in which `change` was applied to each of `strings()`; the names of template variables stay."""
        return ChatInput(
            [_rebuild(message, change) for message in self.messages],
            None if self.tools is None else [_rebuild(tool, change) for tool in self.tools],
            {name: _rebuild(value, change) for name, value in self.variables.items()},
        )

    def with_parsed_arguments(self) -> "ChatInput":
        """The same input, tool-call arguments that are JSON texts of objects turned into objects."""
        return ChatInput(parse_tool_arguments(self.messages), self.tools, self.variables)

    def with_joined_parts(self, separator: str) -> "ChatInput":
        """The same input, content that is a list of text parts turned into one string."""
        return ChatInput([_with_joined_parts(message, separator) for message in self.messages], self.tools, self.variables)

    @property
    def has_parts(self) -> bool:
        """Whether the content of a message is a list."""
        return any(isinstance(message.get("content"), list | tuple) for message in self.messages)

    @property
    def has_argument_texts(self) -> bool:
        """Whether a message carries tool-call arguments as JSON text."""
        return any(
            isinstance(call, Mapping) and isinstance((call.get("function") or {}).get("arguments"), str)
            for message in self.messages
            for call in message.get("tool_calls") or ()
        )


def parse_tool_arguments(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose tool-call arguments are objects where they were JSON texts of objects: what most templates expect.

    Texts that are not JSON objects are kept as they are; the messages given are not touched.
    """
    return [_with_parsed_calls(message) for message in messages]


def _with_parsed_calls(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return dict(message)
    return {**message, "tool_calls": [_with_parsed_arguments(call) for call in calls]}


def _with_parsed_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return dict(call)
    try:
        parsed = json.loads(function["arguments"] or "{}")
    except (ValueError, RecursionError):
        return dict(call)
    return {**call, "function": {**function, "arguments": parsed}} if isinstance(parsed, dict) else dict(call)


def _with_joined_parts(message: Mapping[str, Any], separator: str) -> Mapping[str, Any]:
    parts = message.get("content")
    if not isinstance(parts, list | tuple) or not all(_is_text(part) for part in parts):
        return message
    return {**message, "content": separator.join(part["text"] for part in parts)}


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in {"text", "input_text"} and isinstance(part.get("text"), str)


def _fixed(key: str, value: str) -> bool:
    return (key == "role" and value in _ROLES) or (key == "type" and value in _TYPES)


def _collect(node: Any, found: list[str]) -> None:
    if isinstance(node, str):
        found.append(node)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            if key not in _MEMBERS:
                found.append(key)
            if isinstance(value, str):
                if not _fixed(key, value):
                    found.append(value)
            else:
                _collect(value, found)
    elif isinstance(node, list | tuple):
        for item in node:
            _collect(item, found)
    elif not (node is None or isinstance(node, bool | int | float)):
        raise TypeError(f"chat input must be plain JSON values, not {type(node).__name__}")


def _rebuild(node: Any, change: Change) -> Any:
    if isinstance(node, str):
        return change(node)
    if isinstance(node, Mapping):
        return {
            key if key in _MEMBERS else change(key): value
            if isinstance(value, str) and _fixed(key, value)
            else _rebuild(value, change)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return [_rebuild(item, change) for item in node]
    return node
