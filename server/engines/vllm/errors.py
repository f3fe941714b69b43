"""vLLM's errors in the terms of `trimtab.strategies.core.errors`. Imports no vLLM: its errors are told by name."""

import re
from collections.abc import Mapping
from typing import Any

from trimtab.strategies.core.errors import (
    ContextLengthExceeded,
    EngineFailure,
    EngineUnavailable,
    RequestRefused,
    StrategyError,
)

LONGEST_MESSAGE = 600
"""Characters of an engine's message that are passed on."""

_SUFFIX = re.compile(r" \((?:parameter|value)=.*\)$", re.DOTALL)
_TOO_LONG = re.compile(r"maximum (?:context|model) length|longer than the (?:maximum )?model|max_model_len", re.IGNORECASE)
_PROMPT_PARAMS = frozenset({"input_tokens", "input_text", "prompt", "messages", None})
_ANSWER_PARAMS = frozenset({"max_tokens", "max_completion_tokens"})
_DEAD = frozenset({"EngineDeadError"})
_CLIENT = frozenset({"VLLMClientError", "ValueError", "TypeError", "OverflowError", "TemplateError", "NotImplementedError"})


def from_response(message: str, status: int, param: str | None, *, dead: bool, prompt: str) -> StrategyError:
    """The error of an error object of vLLM's OpenAI layer.

    status: its HTTP status. dead: whether the engine has died. prompt: what the request calls its prompt.
    """
    message = _bounded(_SUFFIX.sub("", message))
    if dead:
        return unavailable()
    if status == 404:
        return RequestRefused(message, param=param or "model", code="model_not_found")
    if 400 <= status < 500 or status == 501:
        if param in _ANSWER_PARAMS and _TOO_LONG.search(message):
            return ContextLengthExceeded(message, param=param)
        if param in _PROMPT_PARAMS and _TOO_LONG.search(message):
            return ContextLengthExceeded(message, param=prompt)
        return RequestRefused(message, param=param)
    if status == 503:
        return EngineUnavailable(message, retry_after_s=1.0, code="engine_overloaded")
    return EngineFailure(message or "the engine failed on this request")


def from_exception(error: BaseException, *, dead: bool, prompt: str) -> StrategyError:
    """The error of whatever vLLM raised; `dead` and `prompt` as in `from_response`."""
    if isinstance(error, StrategyError):
        return error
    names = {cls.__name__ for cls in type(error).__mro__}
    if dead or names & _DEAD:
        return unavailable()
    if "ValidationError" in names and hasattr(error, "errors"):
        return _from_pydantic(error)
    text = _SUFFIX.sub("", str(error))
    if "VLLMNotFoundError" in names:
        return from_response(text, 404, None, dead=False, prompt=prompt)
    if names & _CLIENT:
        return from_response(text, 400, getattr(error, "parameter", None), dead=False, prompt=prompt)
    status = int(getattr(error, "http_status", None) or getattr(error, "status_code", None) or 500)
    if "EngineGenerateError" in names and error.__cause__ is not None:
        text = f"the engine failed on this request: {type(error.__cause__).__name__}"
    return from_response(text, status, None, dead=False, prompt=prompt)


def unavailable(message: str = "the engine died; it is started again", retry_after_s: float = 20.0) -> EngineUnavailable:
    """What a request gets that meets a dead engine. retry_after_s: about how long a restart takes."""
    return EngineUnavailable(message, retry_after_s=retry_after_s)


def aborted() -> EngineUnavailable:
    """What a request gets that the engine ended without being asked by its caller."""
    return EngineUnavailable("the engine ended this request before it was finished", retry_after_s=1.0)


def _from_pydantic(error: Any) -> RequestRefused:
    """The first complaint about a request body, named by its path."""
    first: Mapping[str, Any] = error.errors(include_url=False, include_input=False, include_context=False)[0]
    location = [str(part) for part in first["loc"]]
    where = ".".join(location) or None
    return RequestRefused(_bounded(f"{where or 'body'}: {first['msg']}"), param=location[0] if location else None)


def _bounded(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]} ..."
