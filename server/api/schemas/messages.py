"""Messages of a chat: roles, content parts, tool calls. Only the shape is checked; what an engine can read is another question.

Plain functions over dicts, because every chat request passes here and its messages go on as they came.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

_PART_MEMBERS: Mapping[str, tuple[str, type]] = {
    "text": ("text", str),
    "refusal": ("refusal", str),
    "image_url": ("image_url", dict),
    "input_audio": ("input_audio", dict),
    "file": ("file", dict),
    "video_url": ("video_url", dict),
}
"""Kind of a part -> the member that holds it, and its type."""


def check_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, unchanged. Raises PydanticCustomError naming the wrong member."""
    for index, message in enumerate(messages):
        role = message.get("role")
        if not isinstance(role, str) or role not in _CHECKS:
            _refuse(f"{index}.role", f"must be one of {', '.join(ROLES)} (got {_shown(role)})")
        _CHECKS[role](str(index), message)
    return messages


def _check_asked(at: str, message: Mapping[str, Any]) -> None:
    """system, developer, user: content is text or parts."""
    _check_content(f"{at}.content", message.get("content"))


def _check_answer(at: str, message: Mapping[str, Any]) -> None:
    """assistant: content may be null beside tool calls or a refusal."""
    if message.get("audio") is not None:
        _refuse(f"{at}.audio", "audio answers are not supported", code="unsupported_parameter")
    calls = message.get("tool_calls")
    if calls is not None:
        _check_calls(f"{at}.tool_calls", calls)
    if message.get("content") is not None:
        _check_content(f"{at}.content", message["content"])
    elif not (calls or message.get("refusal") is not None or message.get("function_call")):
        _refuse(f"{at}.content", "may be null only beside tool_calls or a refusal")


def _check_tool(at: str, message: Mapping[str, Any]) -> None:
    """tool: the id of the call it answers."""
    if not isinstance(message.get("tool_call_id"), str):
        _refuse(f"{at}.tool_call_id", "a tool message needs the id of the call it answers")
    _check_content(f"{at}.content", message.get("content"))


def _check_function(at: str, message: Mapping[str, Any]) -> None:
    """function (deprecated): its name; content may be null."""
    if not isinstance(message.get("name"), str):
        _refuse(f"{at}.name", "a function message needs the function's name")
    if message.get("content") is not None:
        _check_content(f"{at}.content", message["content"])


def _check_content(at: str, content: Any) -> None:
    if isinstance(content, str):
        check_text(at, content)
        return
    if not isinstance(content, list):
        _refuse(at, f"must be a string or a list of content parts (got {_shown(content)})")
    if not content:
        _refuse(at, "must hold at least one part")
    for index, part in enumerate(content):
        _check_part(f"{at}.{index}", part)


def _check_part(at: str, part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in _PART_MEMBERS:
        _refuse(f"{at}.type", f"must be one of {', '.join(_PART_MEMBERS)} (got {_shown(kind)})")
    member, expected = _PART_MEMBERS[kind]
    value = part.get(member)
    if not isinstance(value, expected):
        _refuse(f"{at}.{member}", f"must be {'a string' if expected is str else 'an object'}")
    if isinstance(value, str):
        check_text(f"{at}.{member}", value)
    if isinstance(value, dict) and kind.endswith("_url") and not isinstance(value.get("url"), str):
        _refuse(f"{at}.{member}.url", "must be a string")


def _check_calls(at: str, calls: Any) -> None:
    if not isinstance(calls, list):
        _refuse(at, "must be a list")
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            _refuse(f"{at}.{index}.function", "must be an object with name and arguments")
        if not isinstance(call.get("id"), str):
            _refuse(f"{at}.{index}.id", "must be a string")
        for member in ("name", "arguments"):
            if not isinstance(function.get(member), str):
                _refuse(f"{at}.{index}.function.{member}", "must be a string")
            check_text(f"{at}.{index}.function.{member}", function[member])


def check_text(at: str, text: str) -> None:
    """Raise for half of a surrogate pair: it is no text, no tokenizer can encode it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(at, "holds half of a surrogate pair, which is no Unicode text")


def _refuse(at: str, reason: str, *, code: str = "value_error") -> NoReturn:
    raise PydanticCustomError(code, "{reason}", {"reason": reason, "at": at})


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else type(value).__name__


_CHECKS: Mapping[str, Callable[[str, Mapping[str, Any]], None]] = {
    "system": _check_asked,
    "developer": _check_asked,
    "user": _check_asked,
    "assistant": _check_answer,
    "tool": _check_tool,
    "function": _check_function,
}


def _member_schema(kind: str, expected: type) -> dict[str, Any]:
    if expected is str:
        return {"type": "string"}
    url = {"required": ["url"], "properties": {"url": {"type": "string"}}} if kind.endswith("_url") else {}
    return {"type": "object", **url}


_TEXT_PART = {
    "type": "object",
    "required": ["type", "text"],
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
}
_OTHER_PARTS = [
    {
        "type": "object",
        "required": ["type", member],
        "properties": {"type": {"const": kind}, member: _member_schema(kind, expected)},
    }
    for kind, (member, expected) in _PART_MEMBERS.items()
    if kind != "text"
]
_CONTENT = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"anyOf": [_TEXT_PART, *_OTHER_PARTS]}}]}
_CALL = {
    "type": "object",
    "required": ["id", "function"],
    "properties": {
        "id": {"type": "string"},
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "required": ["name", "arguments"],
            "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}},
        },
    },
}


def _variant(roles: list[str], required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": ["role", *required], "properties": {"role": {"enum": roles}, **properties}}


MESSAGE_SCHEMA: dict[str, Any] = {
    "oneOf": [
        _variant(["system", "developer", "user"], ["content"], content=_CONTENT, name={"type": "string"}),
        _variant(
            ["assistant"],
            [],
            content={"anyOf": [_CONTENT, {"type": "null"}]},
            tool_calls={"type": "array", "items": _CALL},
            refusal={"type": ["string", "null"]},
        ),
        _variant(["tool"], ["content", "tool_call_id"], content=_CONTENT, tool_call_id={"type": "string"}),
        _variant(["function"], ["name"], content={"type": ["string", "null"]}, name={"type": "string"}),
    ]
}
"""JSON schema of one message, for the OpenAPI document."""

Messages = Annotated[
    list[dict[str, Any]],
    Field(fail_fast=True),
    AfterValidator(check_messages),
    WithJsonSchema({"type": "array", "minItems": 1, "items": MESSAGE_SCHEMA}),
]
"""A list of messages whose shape is right."""
