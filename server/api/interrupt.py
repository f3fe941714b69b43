"""Interrupts: ends the work of a request when its client has gone or the server gives it up."""

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from trimtab.server.errors import ServerError

T = TypeVar("T")


class ClientGone(ServerError):
    """The client closed the connection before its answer was complete; nobody reads what follows."""

    code = "client_closed_request"


class Interrupt(AbstractAsyncContextManager["Interrupt"]):
    """Inside the block, the task is cancelled when the client disconnects or `fire` is called; the block then raises why.

    The request's body must have been read. A cancellation from elsewhere passes through unchanged.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._reason: Exception | None = None
        self._task: asyncio.Task[object] | None = None
        self._listener: asyncio.Task[None] | None = None

    def fire(self, reason: Exception) -> None:
        """End the block with this error. Only the first reason counts; after the block it does nothing."""
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()

    async def __aenter__(self) -> "Interrupt":
        """Begin to listen."""
        self._task = asyncio.current_task()
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; raise the reason where the block was interrupted."""
        task, self._task = self._task, None
        if self._listener is not None:
            self._listener.cancel()
        if self._reason is None or task is None:
            return
        if kind is None:
            await _swallow_cancellation()
        task.uncancel()
        if kind is None or issubclass(kind, asyncio.CancelledError):
            raise self._reason from None

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self.fire(ClientGone("the client closed the connection"))


async def _swallow_cancellation() -> None:
    """Take the cancellation that was asked for while the block was already ending."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return


async def run_cancellable(request: Request, work: Awaitable[T]) -> T:
    """The result of the work, which is cancelled when the client goes. Raises ClientGone then."""
    async with Interrupt(request.receive):
        return await work
