"""Bodies: reads a JSON body once, strictly, and documents its model, so that hot routes skip the framework's own parsing."""

from typing import Any

import jiter
from fastapi import Request
from pydantic import BaseModel

from trimtab.strategies.core.errors import RequestRefused

MAX_MEMBERS = 1024
"""Members of a body; a request with more is an attack on the validator, not a question."""


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of a body. Raises RequestRefused (`invalid_json`, `invalid_value`).

    Duplicate keys, NaN, lone surrogates and nesting beyond the parser's bound are no JSON here. Another content type is
    refused: a browser sends those to any local server without asking.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not (content_type.startswith("application/") and content_type.endswith("+json")):
        shown = content_type[:80] or "none"
        raise RequestRefused(f"the body must be sent with `Content-Type: application/json` (got {shown})", code="invalid_value")
    return parse_object(await request.body())


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a text. Raises RequestRefused."""
    try:
        body = jiter.from_json(raw, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True)
    except ValueError as error:
        raise RequestRefused(f"The request body is not valid JSON: {str(error)[:200]}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise RequestRefused(f"the request body must be a JSON object, not {_kind(body)}", code="invalid_value")
    if len(body) > MAX_MEMBERS:
        raise RequestRefused(f"the request body has {len(body)} members; allowed are {MAX_MEMBERS}", code="invalid_value")
    return body


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body with `read_object`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _kind(value: Any) -> str:
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
