"""Caps: the size of what a request asks for, checked against `limits` before an engine is touched. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from trimtab.server.settings import Limits
from trimtab.strategies.core.errors import RequestRefused

Endpoint = Literal["chat", "completions", "responses", "embeddings"]


def check_caps(body: Mapping[str, Any], limits: Limits, endpoint: Endpoint = "chat") -> None:
    """Raise RequestRefused naming the field, its value and what is allowed."""
    _at_most("n", body.get("n"), limits.n)
    for name in ("top_logprobs", "logprobs", "prompt_logprobs"):
        _at_most(name, body.get(name), limits.top_logprobs, least=0, setting="limits.top_logprobs")
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens", "min_tokens"):
        _at_most(name, body.get(name), limits.max_tokens, setting="limits.max_tokens")
    _check_stop(body.get("stop"), limits)
    _count("tools", body.get("tools"), limits.tools)
    _count("logprob_token_ids", body.get("logprob_token_ids"), max(limits.top_logprobs, 1), "limits.top_logprobs")
    _check_schemas(body, limits)
    if endpoint == "chat":
        _count("messages", body.get("messages"), limits.messages)
    elif endpoint == "responses":
        _count("input", body.get("input"), limits.messages, "limits.messages")
    elif endpoint == "completions":
        _count_texts("prompt", body.get("prompt"), limits.prompts, "limits.prompts")
    else:
        _count_texts("input", body.get("input"), limits.embedding_inputs, "limits.embedding_inputs")


def _at_most(name: str, value: Any, most: int | None, *, least: int | None = None, setting: str | None = None) -> None:
    if most is None or isinstance(value, bool) or not isinstance(value, int):
        return
    if value > most or (least is not None and value < least):
        allowed = f"at most {most}" if least is None else f"{least} to {most}"
        raise RequestRefused(
            f"{name}={_short(value)} is too large: allowed is {allowed} ({setting or 'limits.' + name})", param=name
        )


def _count(name: str, value: Any, most: int, setting: str | None = None) -> None:
    if isinstance(value, list) and len(value) > most:
        raise RequestRefused(f"{name} has {len(value)} entries; allowed are {most} ({setting or 'limits.' + name})", param=name)


def _count_texts(name: str, value: Any, most: int, setting: str) -> None:
    """A list of texts or of token lists; a flat list of ids is one text."""
    if isinstance(value, list) and value and not isinstance(value[0], int):
        _count(name, value, most, setting)


def _check_stop(stop: Any, limits: Limits) -> None:
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list):
        return
    _count("stop", stops, limits.stop)
    for text in stops:
        if isinstance(text, str) and len(text) > limits.stop_chars:
            message = f"a stop string has {len(text)} characters; allowed are {limits.stop_chars} (limits.stop_chars)"
            raise RequestRefused(message, param="stop")


def _check_schemas(body: Mapping[str, Any], limits: Limits) -> None:
    for name in ("tools", "response_format", "structured_outputs", "text"):
        value = body.get(name)
        if isinstance(value, dict | list) and _depth(value) > limits.schema_depth:
            message = f"{name} is nested deeper than {limits.schema_depth} levels (limits.schema_depth)"
            raise RequestRefused(message, param=name)


def _depth(value: Any) -> int:
    """Levels of nested objects and arrays, counted without recursion."""
    deepest = 0
    todo: list[tuple[Any, int]] = [(value, 1)]
    while todo:
        node, level = todo.pop()
        deepest = max(deepest, level)
        todo.extend((child, level + 1) for child in _children(node) if isinstance(child, dict | list))
    return deepest


def _children(node: Any) -> Iterator[Any]:
    return iter(node.values() if isinstance(node, dict) else node)


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**15 else "a huge number"
