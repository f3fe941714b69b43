"""Server-sent events: writes a stream of JSON strings to the wire, with keep-alive comments while it is silent.

Nothing is sent before the first event or the first keep-alive: until then an error is an HTTP error, after it one
`data: {"error": ...}` event. Events cost no task and no timer: one timer a stream looks at the time of the last write.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from pydantic_core import to_json
from starlette.types import Send

from trimtab.server.api.errors import error_object
from trimtab.server.api.interrupt import ClientGone

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
STALL_S = 120.0
"""A client that takes nothing for this long counts as gone."""

Frame = Callable[[str], bytes]
"""The bytes of one event."""


def data_frame(event: str) -> bytes:
    """`data: {json}`, as chat and completion streams have it."""
    return b"data: " + event.encode() + b"\n\n"


class EventWriter:
    """Writes one stream. `headers` is asked when the answer begins, `on_gone` hears of a client that left or stalls."""

    def __init__(
        self,
        send: Send,
        headers: Callable[[], Mapping[str, str]],
        *,
        keep_alive_s: float,
        on_gone: Callable[[Exception], None],
        frame: Frame = data_frame,
        done: bytes = DONE,
        request_id: str | None = None,
    ) -> None:
        self._send = send
        self._headers = headers
        self._keep_alive_s = keep_alive_s
        self._on_gone = on_gone
        self._frame = frame
        self._done = done
        self._request_id = request_id
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None
        self._written_at = time.monotonic()
        self.started = False
        self.last: str = ""
        """The last event."""

    def watch(self) -> None:
        """Begin to look after silence and stalls."""
        tick = min(self._keep_alive_s or STALL_S, STALL_S)
        self._timer = asyncio.get_running_loop().call_later(tick, self._tick)

    async def event(self, event: str) -> None:
        """Write an event."""
        await self._write(self._frame(event))
        self.last = event

    async def keep_alive(self) -> None:
        """Write a comment."""
        await self._write(KEEP_ALIVE)

    async def error(self, error: Exception) -> None:
        """Write an error event."""
        _, body, _ = error_object(error, request_id=self._request_id)
        await self._write(self._frame(to_json(body).decode()))

    async def end(self) -> None:
        """Write `[DONE]` and close the answer."""
        await self._write(self._done, more=False)

    def close(self) -> None:
        """Stop the timer. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    async def _write(self, chunk: bytes, *, more: bool = True) -> None:
        async with self._lock:
            try:
                if not self.started:
                    self.started = True
                    await self._send({"type": "http.response.start", "status": 200, "headers": self._raw_headers()})
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
            except OSError as error:
                raise ClientGone("the client closed the connection") from error
            self._written_at = time.monotonic()

    async def _comment_now(self) -> None:
        try:
            await self.keep_alive()
        except ClientGone as error:
            self._on_gone(error)

    def _raw_headers(self) -> list[tuple[bytes, bytes]]:
        fixed = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in {**fixed, **self._headers()}.items()]

    def _tick(self) -> None:
        """Write a comment where it is due, and come back when the next one may be."""
        silent = time.monotonic() - self._written_at
        if self._lock.locked():
            if silent >= STALL_S:
                self._on_gone(ClientGone(f"the client took nothing for {STALL_S:g} s"))
                return
        elif self._keep_alive_s and silent >= self._keep_alive_s * 0.99:
            self._comment = asyncio.get_running_loop().create_task(self._comment_now())
            silent = 0.0
        wait = min(self._keep_alive_s - silent, STALL_S) if self._keep_alive_s else STALL_S
        self._timer = asyncio.get_running_loop().call_later(max(wait, 0.01), self._tick)
