"""Errors on the wire: the only place that turns an exception into a status, OpenAI's envelope and headers.

The envelope is `{"error": {"message", "type", "param", "code"}}` and `code` is always a string. Messages are bounded and
never hold a stack or a large input. The same function serves HTTP answers, error events of streams and batch lines.
"""

import math
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from trimtab.server.api.interrupt import ClientGone
from trimtab.server.api.limits import OverRate
from trimtab.server.api.refusal import bounded, refusal
from trimtab.server.errors import (
    BodyTooLarge,
    Conflict,
    Forbidden,
    NotFound,
    Overloaded,
    RateLimited,
    ServerError,
    StorageFull,
    Unauthenticated,
)
from trimtab.strategies.core.errors import (
    BudgetExceeded,
    ConfigError,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    RequestRefused,
    StrategyNotAllowed,
    UpstreamError,
    UpstreamTimeout,
)

MAX_RETRY_AFTER_S = 120
"""OpenAI's clients stop retrying where `retry-after` is larger."""

CLIENT_GONE = 499
"""Nobody reads this status but logs and metrics."""

Rendered = tuple[int, dict[str, Any], dict[str, str]]
"""Status, body, headers."""

_NO_RETRY = {"x-should-retry": "false"}


def error_object(exc: BaseException, *, request_id: str | None = None) -> Rendered:
    """Status, envelope and headers of an exception. Anything unknown is a 500 that tells only the request id."""
    match exc:
        case RequestRefused() | ConfigError():
            return _envelope(_refused_status(exc.code), str(exc), "invalid_request_error", exc.code, param=exc.param)
        case StrategyNotAllowed():
            return _envelope(403, str(exc), "permission_error", "strategy_not_allowed")
        case BudgetExceeded():
            return _envelope(
                429, str(exc), "rate_limit_error", "insufficient_quota", param="alignment.budget", headers=_NO_RETRY
            )
        case DeadlineExceeded():
            param = "alignment.budget.deadline_ms"
            return _envelope(504, str(exc), "server_error", "alignment_deadline", param=param, headers=_NO_RETRY)
        case EngineUnavailable():
            return _envelope(503, str(exc), "server_error", exc.code, headers=_retry_after(exc.retry_after_s))
        case UpstreamError():
            return _upstream(exc)
        case EngineFailure():
            return _envelope(500, _with_id(str(exc), request_id), "server_error", "internal_error")
        case _:
            return _http_error(exc, request_id)


def _http_error(exc: BaseException, request_id: str | None) -> Rendered:
    """The server's own errors, what routing raises, and bugs."""
    match exc:
        case RequestValidationError():
            return error_object(refusal(exc.errors(), exc.body))
        case HTTPException():
            return _framework(exc)
        case ServerError() if type(exc) is not ServerError:
            return _server_error(exc)
        case _:
            message = _with_id("The server failed on this request.", request_id)
            return _envelope(500, message, "server_error", "internal_error")


def _server_error(exc: ServerError) -> Rendered:
    """`trimtab.server.errors`, row by row."""
    kind, headers = "invalid_request_error", {}
    match exc:
        case ClientGone():
            status = CLIENT_GONE
        case NotFound():
            status = 404
        case Unauthenticated():
            status, headers = 401, {"www-authenticate": "Bearer"}
        case Forbidden():
            status, kind = 403, "permission_error"
        case Conflict():
            status, headers = 409, _NO_RETRY
        case BodyTooLarge():
            status = 413
        case RateLimited():
            extra = exc.headers if isinstance(exc, OverRate) else {}
            status, kind, headers = 429, "rate_limit_error", {**extra, **_retry_after(exc.retry_after_s)}
        case Overloaded():
            status, kind, headers = 503, "server_error", _retry_after(exc.retry_after_s)
        case StorageFull():
            status, kind, headers = 507, "server_error", _NO_RETRY
        case _:
            status, kind = 500, "server_error"
    return _envelope(status, str(exc), kind, exc.code, param=exc.param, headers=headers)


def _envelope(
    status: int,
    message: str,
    kind: str,
    code: str,
    *,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Rendered:
    error = {"message": bounded(message, 10_000), "type": kind, "param": param, "code": code}
    return status, {"error": error}, dict(headers or {})


def _refused_status(code: str) -> int:
    if code.endswith("_not_found") or code in {"not_found", "endpoint_not_supported"}:
        return 404
    return 413 if code == "request_too_large" else 400


def _retry_after(seconds: float) -> dict[str, str]:
    return {"retry-after": str(min(MAX_RETRY_AFTER_S, max(1, math.ceil(seconds))))}


def _with_id(message: str, request_id: str | None) -> str:
    return f"{message} (request id {request_id})" if request_id else message


def _upstream(exc: UpstreamError) -> Rendered:
    """An upstream's 4xx keeps its status and its error object; its 5xx is a 502, its silence a 504."""
    headers = {"retry-after": exc.retry_after} if exc.retry_after else {}
    if 400 <= exc.status < 500:
        status, body, _ = _envelope(exc.status, str(exc), "upstream_error", "upstream_error")
        body["error"].update(_upstream_members(exc.body))
        return status, body, headers
    if isinstance(exc, UpstreamTimeout) or exc.status == 504:
        return _envelope(504, str(exc), "upstream_error", "upstream_timeout", headers=headers)
    return _envelope(502, str(exc), "upstream_error", "upstream_error", headers=headers)


def _upstream_members(body: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of an upstream's error object fits the envelope; codes become strings, absent members stay ours."""
    error = (body or {}).get("error")
    if isinstance(error, str):
        return {"message": bounded(error, 1000)}
    if not isinstance(error, Mapping):
        return {}
    strings = {key: bounded(str(error[key]), 1000) for key in ("message", "type", "code") if error.get(key) is not None}
    param = error.get("param")
    return strings | {"param": bounded(str(param), 1000) if param is not None else None}


def _framework(exc: HTTPException) -> Rendered:
    """What routing itself raises."""
    codes = {404: "not_found", 405: "method_not_allowed"}
    headers = {name.lower(): value for name, value in (exc.headers or {}).items()}
    code = codes.get(exc.status_code, "invalid_value")
    kind = "invalid_request_error" if exc.status_code < 500 else "server_error"
    return _envelope(exc.status_code, str(exc.detail), kind, code, headers=headers)
