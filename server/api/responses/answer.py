"""From a chat answer to a `response` object. Pure functions, shared by whole answers and streams."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from uuid import uuid4

from trimtab.server.api.schemas.responses import ResponsesRequest

Wire = dict[str, Any]
ItemStatus = Literal["in_progress", "completed", "incomplete"]

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""finish_reason -> incomplete_details.reason."""


def begin(request: ResponsesRequest, model: str) -> Wire:
    """The response object before anything is generated, the request's settings echoed."""
    text = request.text.model_dump(by_alias=True, exclude_none=True) if request.text else {}
    reasoning = request.reasoning
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.effort if reasoning else None, "summary": None},
        "store": False,
        "temperature": request.temperature,
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": request.tool_choice or "auto",
        "tools": request.tools or [],
        "top_logprobs": request.top_logprobs,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
    }


def complete(response: Wire, completion: Mapping[str, Any]) -> Wire:
    """The finished response of a `chat.completion` object."""
    choice = completion["choices"][0]
    return finish(
        response | {"model": completion.get("model", response["model"])},
        output=output_items(choice["message"], choice.get("logprobs"), item_status(choice.get("finish_reason"))),
        finish_reason=choice.get("finish_reason"),
        token_usage=completion.get("usage"),
        alignment=completion.get("alignment"),
    )


def finish(
    response: Wire,
    *,
    output: Iterable[Wire],
    finish_reason: str | None,
    token_usage: Mapping[str, Any] | None,
    alignment: Mapping[str, Any] | None,
) -> Wire:
    """The response with its output and end state; `alignment` at its top level where a strategy was selected."""
    reason = INCOMPLETE.get(finish_reason or "")
    done = response | {
        "status": "incomplete" if reason else "completed",
        "completed_at": None if reason else int(time.time()),
        "incomplete_details": {"reason": reason} if reason else None,
        "output": list(output),
        "usage": usage(token_usage) if token_usage else None,
    }
    return done | {"alignment": dict(alignment)} if alignment is not None else done


def item_status(finish_reason: str | None) -> ItemStatus:
    """Whether an item of an answer that ended so is whole."""
    return "incomplete" if finish_reason in INCOMPLETE else "completed"


def output_items(message: Mapping[str, Any], logprobs: Mapping[str, Any] | None, status: ItemStatus) -> list[Wire]:
    """The output items of a chat message: reasoning, then the message, then function calls."""
    items: list[Wire] = []
    calls = message.get("tool_calls") or []
    if thought := reasoning_text(message):
        items.append(reasoning_item(new_id("rs"), thought))
    parts: list[Wire] = []
    if message.get("content") or not (calls or message.get("refusal")):
        parts.append(text_part(message.get("content") or "", (logprobs or {}).get("content")))
    if message.get("refusal"):
        parts.append(refusal_part(message["refusal"]))
    if parts:
        items.append(message_item(new_id("msg"), parts, status))
    for call in calls:
        function = call["function"]
        items.append(function_call_item(new_id("fc"), call["id"], function["name"], function["arguments"], status))
    return items


def new_id(prefix: str) -> str:
    """A fresh item id."""
    return f"{prefix}_{uuid4().hex}"


def reasoning_text(message: Mapping[str, Any]) -> str | None:
    """What a reasoning model thought, under either of the names in use."""
    return message.get("reasoning") or message.get("reasoning_content")


def message_item(item_id: str, parts: list[Wire], status: ItemStatus) -> Wire:
    """An assistant message."""
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": parts}


def text_part(text: str, logprobs: Iterable[Mapping[str, Any]] | None = None) -> Wire:
    """A part of an assistant message; `logprobs` as in a chat answer."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [_full(entry) for entry in logprobs or ()]}


def refusal_part(refusal: str) -> Wire:
    """A part that says why there is no answer."""
    return {"type": "refusal", "refusal": refusal}


def reasoning_item(item_id: str, text: str) -> Wire:
    """What a reasoning model thought."""
    return {"id": item_id, "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def function_call_item(item_id: str, call_id: str, name: str, arguments: str, status: ItemStatus) -> Wire:
    """A call that the caller is asked to run."""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def usage(tokens: Mapping[str, Any]) -> Wire:
    """Token counts under their names in this endpoint; details that were not measured are zero."""
    prompt = tokens.get("prompt_tokens_details") or {}
    completion = tokens.get("completion_tokens_details") or {}
    return {
        "input_tokens": tokens["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": prompt.get("cached_tokens") or 0, "cache_write_tokens": 0},
        "output_tokens": tokens["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": completion.get("reasoning_tokens") or 0},
        "total_tokens": tokens["total_tokens"],
    }


def _full(entry: Mapping[str, Any]) -> Wire:
    tops = [_one(top) for top in entry.get("top_logprobs") or ()]
    return _one(entry) | {"top_logprobs": tops}


def _one(entry: Mapping[str, Any]) -> Wire:
    token = entry["token"]
    return {"token": token, "logprob": entry["logprob"], "bytes": entry.get("bytes") or list(str(token).encode())}
