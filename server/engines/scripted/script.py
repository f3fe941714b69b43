"""What the scripted engine says: given answers in turn, or an echo; JSON where a schema asks for it."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import Conversation

MAX_DEPTH = 64
"""Levels of a schema that are followed."""
MAX_SIZE = 1000
"""Longest array or string a schema may ask for."""


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """One answer: text, or tool calls in OpenAI's shape."""

    text: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()


class Script(Protocol):
    """Decides what is answered."""

    def answer(self, prompt: Conversation | str, params: Params, index: int) -> ScriptedAnswer:
        """The answer of choice `index` to a conversation or a raw prompt."""
        ...


@dataclass(slots=True)
class GivenAnswers:
    """Answers in the order of requests, from the start again after the last; without any, an echo of the last user turn."""

    answers: Sequence[str] = ()
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    def answer(self, prompt: Conversation | str, params: Params, index: int) -> ScriptedAnswer:
        """The next answer."""
        if isinstance(prompt, Conversation):
            forced = _forced_call(params.native)
            if forced is not None:
                return forced
            schema = _wanted_schema(params.native)
            if schema is not None:
                return ScriptedAnswer(json.dumps(minimal_instance(schema)))
        if self.answers:
            return ScriptedAnswer(self.answers[next(self._turn) % len(self.answers)])
        asked = _last_user_text(prompt) if isinstance(prompt, Conversation) else prompt
        return ScriptedAnswer(f"You said: {asked}")


def _last_user_text(conversation: Conversation) -> str:
    said = [message.text for message in conversation.messages if message.role == "user"]
    return said[-1] if said else ""


def _forced_call(native: Mapping[str, Any]) -> ScriptedAnswer | None:
    """A call of the tool that `tool_choice` asks for, with the smallest valid arguments."""
    choice, tools = native.get("tool_choice"), native.get("tools") or []
    if not tools or choice in (None, "auto", "none"):
        return None
    wanted = choice["function"]["name"] if isinstance(choice, Mapping) else tools[0]["function"]["name"]
    tool = next(tool["function"] for tool in tools if tool["function"]["name"] == wanted)
    arguments = json.dumps(minimal_instance(tool.get("parameters") or {"type": "object"}))
    return ScriptedAnswer(
        tool_calls=({"id": "call_scripted", "type": "function", "function": {"name": wanted, "arguments": arguments}},)
    )


def _wanted_schema(native: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = native.get("response_format") or {}
    if wanted.get("type") == "json_object":
        return {"type": "object"}
    if wanted.get("type") == "json_schema":
        schema: Mapping[str, Any] = wanted["json_schema"].get("schema") or {}
        return schema
    return None


def minimal_instance(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A small value that fits a JSON schema (references, enums, required members, numbers' minima).

    Raises RequestRefused for a schema that refers to nothing or to itself without end.
    """
    root = schema if root is None else root
    if not isinstance(schema, Mapping):
        return "a"
    if depth > MAX_DEPTH:
        raise _unfit("it refers to itself without end")
    if "$ref" in schema:
        return minimal_instance(_referred(str(schema["$ref"]), root), root, depth + 1)
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    for choices in ("enum", "anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(choices), list) and schema[choices]:
            first = schema[choices][0]
            return first if choices == "enum" else minimal_instance(first, root, depth + 1)
    return _of_type(schema, root, depth)


def _referred(reference: str, root: Any) -> Any:
    """What a reference inside the schema points at."""
    target = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if not part:
            continue
        if not isinstance(target, Mapping) or part not in target:
            raise _unfit(f"{reference[:100]!r} refers to nothing")
        target = target[part]
    return target


def _of_type(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        members, required = schema.get("properties"), schema.get("required")
        known = members if isinstance(members, Mapping) else {}
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        return {name: minimal_instance(known.get(name, {}), root, depth + 1) for name in names}
    if kind == "array":
        return [minimal_instance(schema.get("items", {}), root, depth + 1) for _ in range(_size(schema, "minItems", 0))]
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind in ("boolean", "null"):
        return False if kind == "boolean" else None
    return "a" * _size(schema, "minLength", 1)


def _size(schema: Mapping[str, Any], name: str, default: int) -> int:
    """A size the schema asks for. Raises RequestRefused for one that is too large to write down."""
    size = schema.get(name, default)
    if not isinstance(size, int) or size > MAX_SIZE:
        raise _unfit(f"{name} must be a number up to {MAX_SIZE}")
    return size


def _unfit(reason: str) -> RequestRefused:
    return RequestRefused(f"the scripted engine cannot follow this JSON schema: {reason}", param="response_format")
