"""Body limit: refuses a body that is too large, by its announced length or, without one, while it arrives."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.server.api.errors import error_object
from trimtab.server.errors import BodyTooLarge
from trimtab.server.middleware.reply import header, json_reply

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bound:
    """What a body may have."""

    mib: float
    setting: str
    """What says so."""
    spare_bytes: int = 0
    """What a form may have around its file."""

    @property
    def bytes(self) -> int:
        """Most bytes."""
        return int(self.mib * MIB) + self.spare_bytes


class BodyLimit:
    """Bounds every body; `exceptions` has other limits by exact path (file uploads)."""

    def __init__(self, app: ASGIApp, limit: Bound, exceptions: Mapping[str, Bound] | None = None) -> None:
        self._app = app
        self._limit = limit
        self._exceptions = exceptions or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._exceptions.get(scope["path"], self._limit)
        announced = header(scope, b"content-length")
        if announced is None:
            await self._counted(limit, scope, receive, send)
        elif len(announced) > 15 or not announced.isdigit() or int(announced) > limit.bytes:
            await json_reply(*error_object(_too_large(limit)))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _counted(self, limit: Bound, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection whose body announces no length; whatever the app makes of the cut body, the answer is a 413."""
        received = 0
        started = False

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit.bytes:
                raise _too_large(limit)
            return message

        async def sending(message: Message) -> None:
            nonlocal started
            if received <= limit.bytes or started:
                started = True
                await send(message)

        try:
            await self._app(scope, counting, sending)
        except BodyTooLarge:
            if started:
                raise
        if received > limit.bytes and not started:
            await json_reply(*error_object(_too_large(limit)))(scope, receive, send)


def _too_large(limit: Bound) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is larger than {limit.mib:g} MiB ({limit.setting})")
