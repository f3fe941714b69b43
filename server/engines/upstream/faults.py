"""What went wrong at the upstream, as this project's errors: status, body and retry-after are kept, texts are bounded."""

import json
import math
from collections.abc import Mapping
from typing import Any

import httpx2

from trimtab.server.engines.upstream.retry import retry_after_s
from trimtab.strategies.core.errors import EngineUnavailable, UpstreamError, UpstreamTimeout

LONGEST_MESSAGE = 1000
"""Characters of an upstream's message that are repeated."""
LONGEST_BODY_BYTES = 64 * 1024
"""A larger error body is not handed on."""


class StreamCut(UpstreamError):
    """The answer's stream ended before the answer did."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the upstream's stream was cut: {reason}", status=502)


def from_status(status: int, raw: bytes, headers: Mapping[str, str]) -> UpstreamError:
    """The error of an answer with an error status."""
    body = _object(raw)
    kind = UpstreamTimeout if status == 504 else UpstreamError
    return kind(
        f"the upstream answered {status}: {_message(body) or raw[:LONGEST_MESSAGE].decode('utf-8', 'replace')}"[
            :LONGEST_MESSAGE
        ],
        status=status,
        body=body if len(raw) <= LONGEST_BODY_BYTES else None,
        retry_after=_retry_after(headers),
    )


def from_event(error: object) -> UpstreamError:
    """The error of an error object inside an answer that began well."""
    body: Mapping[str, Any] = {"error": error}
    code = error.get("code") if isinstance(error, Mapping) else None
    status = code if isinstance(code, int) and 400 <= code <= 599 else 502
    return UpstreamError(f"the upstream failed: {_message(body) or error}"[:LONGEST_MESSAGE], status=status, body=body)


def from_transport(error: Exception, url: str) -> UpstreamError | EngineUnavailable:
    """The error of a request that got no answer."""
    reason = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return EngineUnavailable(f"the upstream {url} takes no connection ({reason})")
    if isinstance(error, httpx2.TimeoutException):
        return UpstreamTimeout(f"the upstream {url} was silent for too long ({reason})", status=504)
    return EngineUnavailable(f"the upstream {url} cannot be reached ({reason})")


def parameter_of(error: UpstreamError) -> tuple[str, str]:
    """The parameter an upstream's error names ("" for none) and its message in lower case."""
    inner = (error.body or {}).get("error")
    param = inner.get("param") if isinstance(inner, Mapping) else None
    return (param if isinstance(param, str) else ""), str(error).lower()


def _retry_after(headers: Mapping[str, str]) -> str | None:
    """The header as it came, or what it says in milliseconds, in whole seconds."""
    seconds = retry_after_s(headers)
    return headers.get("retry-after") or (None if seconds is None else str(math.ceil(seconds)))


def _object(raw: bytes) -> Mapping[str, Any] | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _message(body: Mapping[str, Any] | None) -> str:
    """The text of the usual error shapes: `error.message`, `error`, `message`, `detail`."""
    if body is None:
        return ""
    error = body.get("error", body)
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or ""
    return error if isinstance(error, str) else json.dumps(error)
