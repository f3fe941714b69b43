"""Measure: counts requests, their time and how many are in work, by route template."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.server.api.metrics import Metrics
from trimtab.server.middleware.reply import header

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Measure:
    """Feeds a `Metrics`."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, sending)
        finally:
            self._metrics.in_flight.dec()
            method = scope["method"] if scope["method"] in _METHODS else "other"
            retried = header(scope, b"x-stainless-retry-count") not in {None, b"0"}
            self._metrics.request(_template(scope), method, status, time.perf_counter() - started, retried=retried)


def _template(scope: Scope) -> str:
    """The matched route's template; `unmatched` for paths nobody serves."""
    return getattr(scope.get("route"), "path", None) or "unmatched"
