"""Authentication: nobody reaches a route without a key, but for the health checks; a route added later is protected too."""

from starlette.types import ASGIApp, Receive, Scope, Send

from trimtab.server.api.auth import PRINCIPAL, Keyring
from trimtab.server.api.errors import error_object
from trimtab.server.errors import Unauthenticated
from trimtab.server.middleware.reply import header, json_reply

PUBLIC = frozenset({"/livez", "/readyz", "/health"})


class Authentication:
    """Resolves the caller and leaves it in the scope; answers 401 where there is none."""

    def __init__(self, app: ASGIApp, keyring: Keyring, *, metrics_public: bool = False) -> None:
        self._app = app
        self._keyring = keyring
        self._public = PUBLIC | {"/metrics"} if metrics_public else PUBLIC

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["path"] not in self._public:
            try:
                scope[PRINCIPAL] = self._keyring.identify((header(scope, b"authorization") or b"").decode("latin-1"))
            except Unauthenticated as error:
                await json_reply(*error_object(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)
