"""Readiness: while the engines start, everything but health, metrics and documentation is a 503 that says when to come back."""

from starlette.types import ASGIApp, Receive, Scope, Send

from trimtab.server.api.errors import error_object
from trimtab.server.api.limits import Admission
from trimtab.server.middleware.reply import json_reply
from trimtab.strategies.core.errors import EngineUnavailable

ALWAYS = frozenset({"/livez", "/readyz", "/health", "/metrics", "/docs", "/openapi.json", "/version"})


class Readiness:
    """Holds requests off until the service is there."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and self._admission.state == "starting" and scope["path"] not in ALWAYS:
            error = EngineUnavailable("the engines are still starting", retry_after_s=5.0)
            await json_reply(*error_object(error))(scope, receive, send)
            return
        await self._app(scope, receive, send)
