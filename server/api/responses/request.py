"""From a `/v1/responses` request to the chat request that means the same, so that every pipeline, lock and cap applies to it.

Pure functions. What needs stored state or a hosted tool raises RequestRefused with the path of the field.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.server.api.schemas.responses import ResponsesRequest, TextFormat
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import Conversation

Wire = dict[str, Any]

STATEFUL = {
    "background_options": "answers are not computed in the background",
    "previous_response_id": "answers are not stored; send the whole conversation as `input`",
    "conversation": "conversations are not stored; send the whole conversation as `input`",
    "prompt": "prompts are not stored; send the text as `instructions` and `input`",
    "context_management": "the input is never compacted; send what the model should see",
    "moderation": "there is no moderation model; choose a strategy with `alignment`",
    "image": "images are handed on as they are",
    "access_programs": "there are no access programmes",
}
"""Fields that are refused wherever they say something, with the reason."""

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "parallel_tool_calls",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "service_tier",
    "alignment",
)
"""Fields that mean the same in both requests."""

PARAMS = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "include",
}
"""How a chat field is called here, for errors."""


def to_chat(request: ResponsesRequest) -> Wire:
    """The body of the chat request. Raises RequestRefused naming the field that cannot be honoured."""
    _refuse_stateful(request)
    tools, choice = _tools(request)
    body: Wire = {"messages": to_messages(request)}
    body.update({name: value for name in SAMPLING if (value := getattr(request, name)) is not None})
    optional = {
        "model": request.model,
        "tools": tools or None,
        "tool_choice": choice if tools else None,
        "max_completion_tokens": request.max_output_tokens,
        "response_format": _response_format(request.text.format if request.text else None),
        "verbosity": request.text.verbosity if request.text else None,
        "reasoning_effort": request.reasoning.effort if request.reasoning else None,
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    if request.top_logprobs is not None or "message.output_text.logprobs" in (request.include or ()):
        body.update(logprobs=True, top_logprobs=request.top_logprobs or 0)
    if request.stream:
        body.update(stream=True, stream_options={"include_usage": True})
    return body


def chat_param(param: str | None) -> str | None:
    """The name of a chat request's field in this request, for errors that the service raises.

    The places of items and messages differ, so that errors about a message name the input as a whole.
    """
    if param is None:
        return None
    head, dot, rest = param.partition(".")
    return "input" if head == "messages" else PARAMS.get(head, head) + dot + rest


def _refuse_stateful(request: ResponsesRequest) -> None:
    for name, reason in STATEFUL.items():
        if getattr(request, name) is not None:
            raise _unsupported(f"{name!r} is not supported: {reason}", name)
    if request.store:
        raise _unsupported("'store': true is not supported: answers are not stored; leave it out or send false", "store")
    if request.background:
        raise _unsupported("'background': true is not supported: answers are not computed in the background", "background")
    if request.truncation == "auto":
        raise _unsupported("'truncation': 'auto' is not supported: the input is never cut; use 'disabled'", "truncation")


def _unsupported(message: str, param: str) -> RequestRefused:
    return RequestRefused(message, param=param, code="unsupported_parameter")


def _invalid(message: str, param: str) -> RequestRefused:
    return RequestRefused(message, param=param)


def to_messages(request: ResponsesRequest) -> list[Wire]:
    """The chat messages of input and instructions; the instructions open the one leading system turn."""
    items = [{"role": "user", "content": request.input}] if isinstance(request.input, str) else request.input
    messages: list[Wire] = []
    for index, item in enumerate(items):
        _append(messages, item, f"input.{index}")
    if not messages:
        raise _invalid("'input' must hold at least one message", "input")
    if request.instructions:
        return Conversation.from_wire(messages).with_system(before=request.instructions).wire()
    return messages


def _append(messages: list[Wire], item: Mapping[str, Any], path: str) -> None:
    """Add one input item to the messages; function calls join the assistant turn they belong to."""
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        messages.append(_message(item, path))
    elif kind == "function_call":
        last = messages[-1] if messages else None
        if last is None or last["role"] != "assistant":
            messages.append(last := {"role": "assistant", "content": None})
        last.setdefault("tool_calls", []).append(_tool_call(item, path))
    elif kind == "function_call_output":
        content = _content(item.get("output"), f"{path}.output")
        messages.append({"role": "tool", "tool_call_id": _string(item, "call_id", path), "content": content})
    elif kind == "item_reference":
        raise _unsupported("items are not stored and cannot be referred to; send the item itself", path)
    elif kind != "reasoning":
        allowed = "message, function_call, function_call_output, reasoning"
        raise _invalid(f"input items of type {kind!r} are not supported; allowed: {allowed}", f"{path}.type")


def _message(item: Mapping[str, Any], path: str) -> Wire:
    role = item.get("role")
    if not isinstance(role, str) or role not in {"user", "assistant", "system", "developer"}:
        raise _invalid(f"role {role!r} is not one of user, assistant, system, developer", f"{path}.role")
    return {"role": role, "content": _content(item.get("content"), f"{path}.content")}


def _content(content: object, path: str) -> str | list[Wire]:
    """Chat content of an item's content: text alone becomes a string, so that every template takes it."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _invalid(f"content must be a string or a list of parts, not {type(content).__name__}", path)
    parts = [_part(part, f"{path}.{index}") for index, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(part: object, path: str) -> Wire:
    if not isinstance(part, dict):
        raise _invalid(f"a content part must be an object, not {type(part).__name__}", path)
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": _string(part, "text", path)}
        case "refusal":
            return {"type": "refusal", "refusal": _string(part, "refusal", path)}
        case "input_image":
            if part.get("image_url") is None:
                raise _unsupported("an input_image needs `image_url`; files are not stored", f"{path}.image_url")
            image = {"url": _string(part, "image_url", path)}
            if isinstance(part.get("detail"), str):
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case kind:
            allowed = "input_text, input_image, output_text, refusal"
            raise _invalid(f"content parts of type {kind!r} are not supported; allowed: {allowed}", f"{path}.type")


def _tool_call(item: Mapping[str, Any], path: str) -> Wire:
    function = {"name": _string(item, "name", path), "arguments": _string(item, "arguments", path)}
    return {"id": _string(item, "call_id", path), "type": "function", "function": function}


def _string(item: Mapping[str, Any], key: str, path: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise _invalid(f"{key!r} must be a string, not {type(value).__name__}", f"{path}.{key}")
    return value


def _tools(request: ResponsesRequest) -> tuple[list[Wire], str | Wire | None]:
    """Chat tools and tool_choice; `allowed_tools` becomes the tools that are allowed."""
    tools = [_tool(tool, f"tools.{index}") for index, tool in enumerate(request.tools or ())]
    names = [tool["function"]["name"] for tool in tools]
    choice = request.tool_choice
    if not isinstance(choice, dict):
        if choice == "required" and not tools:
            raise _invalid("tool_choice 'required' needs `tools`", "tool_choice")
        return tools, choice
    match choice.get("type"):
        case "function":
            name = _known(choice, names, "tool_choice")
            return tools, {"type": "function", "function": {"name": name}}
        case "allowed_tools":
            allowed = _allowed(choice.get("tools"), names)
            mode = choice.get("mode")
            if mode not in {"auto", "required"}:
                raise _invalid(f"mode {mode!r} is not one of auto, required", "tool_choice.mode")
            return [tool for tool in tools if tool["function"]["name"] in allowed], mode
        case kind:
            allowed_kinds = "none, auto, required, function, allowed_tools"
            raise _unsupported(f"tool_choice of type {kind!r} is not supported; allowed: {allowed_kinds}", "tool_choice.type")


def _allowed(tools: object, names: Iterable[str]) -> frozenset[str]:
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise _invalid("tool_choice.tools must be a list of objects", "tool_choice.tools")
    return frozenset(_known(tool, names, f"tool_choice.tools.{index}") for index, tool in enumerate(tools))


def _known(item: Mapping[str, Any], names: Iterable[str], path: str) -> str:
    name = _string(item, "name", path)
    if name not in names:
        raise _invalid(f"no function {name!r} among the tools: {', '.join(names) or 'none'}", f"{path}.name")
    return name


def _tool(tool: Mapping[str, Any], path: str) -> Wire:
    if tool.get("type") != "function":
        message = f"tools of type {tool.get('type')!r} are not supported: only functions that the caller runs"
        raise _unsupported(message, f"{path}.type")
    function: Wire = {"name": _string(tool, "name", path)}
    function.update({key: tool[key] for key in ("description", "parameters", "strict") if tool.get(key) is not None})
    return {"type": "function", "function": function}


def _response_format(text: TextFormat | None) -> Wire | None:
    """Chat's response_format, None for plain text."""
    if text is None or text.type == "text":
        return None
    if text.type == "json_object":
        return {"type": "json_object"}
    if text.json_schema is None or not text.name:
        missing = "schema" if text.name else "name"
        raise _invalid(f"text.format of type json_schema needs {missing!r}", f"text.format.{missing}")
    schema: Wire = {"name": text.name, "schema": text.json_schema}
    schema.update({key: value for key in ("description", "strict") if (value := getattr(text, key)) is not None})
    return {"type": "json_schema", "json_schema": schema}
