"""Refusals: pydantic's findings about a body as one bounded message with a dotted parameter."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from trimtab.strategies.core.errors import RequestRefused

Model = TypeVar("Model", bound=BaseModel)

MAX_ERRORS = 10
MAX_MESSAGE_CHARS = 1000
_ENVELOPES = frozenset({"body", "query", "path", "header"})


def bounded(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """The text, cut to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def validated(model: type[Model], body: Any, *, prefix: str = "") -> Model:
    """The model of a body. Raises RequestRefused naming the first wrong field (below `prefix`)."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False, include_context=True), body, prefix=prefix) from None


def refusal(errors: Sequence[Mapping[str, Any]], body: Any, *, prefix: str = "") -> RequestRefused:
    """One RequestRefused for pydantic's errors: at most ten, each at most a thousand characters, no large input echoed."""
    if any(error.get("type") == "json_invalid" for error in errors):
        return RequestRefused("The request body is not valid JSON.", code="invalid_json")
    if not errors:
        return RequestRefused("the request body is not valid")
    params = [_param(error, body, prefix) for error in errors[:MAX_ERRORS]]
    lines = [bounded(f"{param or 'body'}: {_sentence(error)}") for param, error in zip(params, errors, strict=False)]
    if len(errors) > MAX_ERRORS:
        lines.append(f"and {len(errors) - MAX_ERRORS} more")
    return RequestRefused("; ".join(dict.fromkeys(lines)), param=params[0] or None, code=_code(errors[0]))


def _param(error: Mapping[str, Any], body: Any, prefix: str) -> str:
    """Where the finding is: pydantic's location, and below it what a validator of ours has named."""
    context = error.get("ctx") or {}
    path = context.get("param") or dotted(error.get("loc", ()), body)
    return _join(_join(prefix, path), context.get("at", ""))


def dotted(loc: Sequence[int | str], body: Any) -> str:
    """The path of a location in the body as `messages.0.content`; tags of unions, which are no keys, are left out."""
    parts = list(loc)
    if parts[:1] == ["body"] or (len(parts) > 1 and parts[0] in _ENVELOPES):  # a body may have a field named `query`
        parts = parts[1:]
    path: list[str] = []
    here = body
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(here, Mapping) and (part in here or (last and isinstance(part, str))):
            here = here.get(part)
        elif isinstance(here, list | tuple) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif body is not None and position > 0:
            continue
        path.append(bounded(str(part), 100))
    return ".".join(path)


def _join(prefix: str, path: str) -> str:
    return ".".join(part for part in (prefix, path) if part)


def _sentence(error: Mapping[str, Any]) -> str:
    """The finding in words, with the value where it is a short scalar."""
    message = str(error.get("msg", "is not valid")).removeprefix("Value error, ")
    context = error.get("ctx") or {}
    if context.get("param"):
        return message.removeprefix(f"{context['param']}: ")
    value = error.get("input")
    if error.get("type") in {"missing", "value_error", "unsupported_parameter"} or not isinstance(value, str | int | float):
        return message
    shown = repr(value)
    return f"{message} (got {shown})" if len(shown) <= 80 else message


def _code(error: Mapping[str, Any]) -> str:
    """`unsupported_parameter` where a validator said so, else `invalid_value`."""
    return "unsupported_parameter" if error.get("type") == "unsupported_parameter" else "invalid_value"
