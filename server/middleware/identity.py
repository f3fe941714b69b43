"""Identity: a request id and timings on every answer, one log line a request, and the last resort for bugs."""

import logging
import os
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.server.api.errors import error_object
from trimtab.server.logs import REQUEST_ID, STARTED_AT
from trimtab.server.middleware.reply import header, json_reply

logger = logging.getLogger(__name__)

OPENAI_VERSION = b"2020-10-01"
MAX_ID_CHARS = 128
_QUIET = frozenset({"/livez", "/readyz", "/health", "/metrics"})


class Identity:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(header(scope, b"x-request-id"))
        REQUEST_ID.set(request_id)
        STARTED_AT.set(started)
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                ms = int((time.perf_counter() - started) * 1000)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"openai-processing-ms", b"%d" % ms),
                    (b"openai-version", OPENAI_VERSION),
                ]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # the request's border: a bug becomes a 500, or breaks off an answer that has begun
            logger.exception("%s %s failed", scope["method"], _shown(scope))
            if status:
                raise
            await json_reply(*error_object(error, request_id=request_id))(scope, receive, sending)
        finally:
            _log(scope, status, time.perf_counter() - started)


def _request_id(given: bytes | None) -> str:
    """The client's id where it is printable ASCII of sane length, else a fresh one."""
    if given and len(given) <= MAX_ID_CHARS and all(33 <= byte <= 126 for byte in given):
        return given.decode("ascii")
    return f"req_{os.urandom(12).hex()}"


def _log(scope: Scope, status: int, seconds: float) -> None:
    level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(level, "%s %s %d %.1f ms", scope["method"], _shown(scope), status, seconds * 1000)


def _shown(scope: Scope) -> str:
    """The path on one line of bounded length."""
    return str(scope["path"])[:200].encode("unicode_escape").decode()
