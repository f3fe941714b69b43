"""What middleware shares: reading one header, answering with an error envelope."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Scope


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first value of a header, by its lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def json_reply(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    """A JSON response."""
    return JSONResponse(body, status_code=status, headers=headers)
