"""What the scripted engine says: given answers in turn, or an echo; JSON where a schema asks for it."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Conversation


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


def minimal_instance(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A small value that fits a JSON schema (references, enums, required members, numbers' minima)."""
    root = schema if root is None else root
    if "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        return minimal_instance(target, root)
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return minimal_instance(schema[choice][0], root)
    return _of_type(schema, root)


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        members = schema.get("properties", {})
        return {name: minimal_instance(members.get(name, {}), root) for name in schema.get("required", [])}
    if kind == "array":
        return [minimal_instance(schema.get("items", {}), root) for _ in range(schema.get("minItems", 0))]
    if kind in {"integer", "number"}:
        return schema.get("minimum", 0)
    return {"boolean": False, "null": None}.get(kind, "a" * schema.get("minLength", 1))
