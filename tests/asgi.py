"""An app behind a client without a socket: a transport that runs its lifespan and hands over each chunk when it is sent.

`ASGITransport` is for `httpx2.AsyncClient`, `SyncASGITransport` for `httpx2.Client`, `LegacyASGITransport` for
`httpx.AsyncClient`.
Closing a response early is a client that goes away: the app receives `http.disconnect`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx
import httpx2

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
T = TypeVar("T")
GRACE_S = 5.0
"""How long an app may take to notice that its client has gone."""


class Lifespan:
    """The lifespan of an app, in a task of its own; an app without one is left alone."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Run the start-up once. Raises what the app raises in it."""
        async with self._lock:
            if self._task is None:
                self._task = asyncio.create_task(self._run())
                await self._exchange("lifespan.startup")

    async def stop(self) -> None:
        """Run the shutdown of an app that was started."""
        async with self._lock:
            if self._task is not None and not self._task.done():
                await self._exchange("lifespan.shutdown")
                await self._task
            self._task = None

    async def _run(self) -> None:
        await self._app(
            {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}, self._inbox.get, self._outbox.put
        )

    async def _exchange(self, kind: str) -> None:
        assert self._task is not None
        await self._inbox.put({"type": kind})
        answer = asyncio.create_task(self._outbox.get())
        await asyncio.wait({self._task, answer}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            if self._task.exception() is not None and kind == "lifespan.shutdown":
                raise RuntimeError("the app failed while shutting down") from self._task.exception()
        elif answer.result()["type"].endswith(".failed"):
            raise RuntimeError(f"{kind} failed: {answer.result().get('message', '')}")


@dataclass(slots=True)
class Exchange:
    """One request and its answer, chunk by chunk."""

    app: App
    scope: dict[str, Any]
    body: bytes
    chunks: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    asked: bool = False

    async def open(self) -> None:
        """Send the request; returns when the answer's headers are there. Raises what the app raises before them."""
        self.task = asyncio.create_task(self._run())
        try:
            await self.started.wait()
        except asyncio.CancelledError:
            await self.close()
            raise
        if not self.status:
            self.task.result()
            raise RuntimeError("the app returned without an answer")

    async def stream(self) -> AsyncIterator[bytes]:
        """The chunks as they are sent. Raises what the app raises between them."""
        while (chunk := await self.chunks.get()) is not None:
            yield chunk
        assert self.task is not None
        await self.task

    async def close(self) -> None:
        """The client goes; the app has a grace time to notice."""
        self.gone.set()
        if self.task is None:
            return
        _, pending = await asyncio.wait({self.task}, timeout=GRACE_S)
        for task in pending:
            task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            await self.app(self.scope, self._receive, self._send)
        finally:
            self.started.set()
            self.chunks.put_nowait(None)

    async def _receive(self) -> Message:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.gone.is_set():
            raise OSError("the client has gone")
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.started.set()
            if message.get("body") and self.scope["method"] != "HEAD":
                self.chunks.put_nowait(bytes(message["body"]))
            if not message.get("more_body", False):
                self.chunks.put_nowait(None)


class _Stream(httpx2.AsyncByteStream, httpx.AsyncByteStream):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._exchange.stream()

    async def aclose(self) -> None:
        await self._exchange.close()


class _Port:
    """What the transports share: the app, its lifespan and the scope of a request."""

    def __init__(self, app: App, *, client: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self.app = app
        self.client = client
        self.lifespan = Lifespan(app)

    async def exchange(self, request: httpx2.Request | httpx.Request, body: bytes) -> Exchange:
        await self.lifespan.start()
        url = request.url
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(k.lower(), v) for k, v in request.headers.raw],
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.split(b"?")[0],
            "query_string": url.query,
            "server": (url.host, url.port or 80),
            "client": self.client,
            "root_path": "",
            "state": dict(self.lifespan.state),
        }
        exchange = Exchange(self.app, scope, body)
        await exchange.open()
        return exchange


class ASGITransport(httpx2.AsyncBaseTransport):
    """For `httpx2.AsyncClient(transport=ASGITransport(app), base_url="http://test")`; the client's end ends the lifespan."""

    def __init__(self, app: App, *, client: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self._port = _Port(app, client=client)

    async def __aenter__(self) -> Self:
        await self._port.lifespan.start()
        return self

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = await self._port.exchange(request, await request.aread())
        return httpx2.Response(exchange.status, headers=exchange.headers, stream=_Stream(exchange), request=request)

    async def aclose(self) -> None:
        await self._port.lifespan.stop()


class LegacyASGITransport(httpx.AsyncBaseTransport):
    """The same for `httpx.AsyncClient`."""

    def __init__(self, app: App, *, client: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self._port = _Port(app, client=client)

    async def __aenter__(self) -> Self:
        await self._port.lifespan.start()
        return self

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = await self._port.exchange(request, await request.aread())
        return httpx.Response(exchange.status, headers=exchange.headers, stream=_Stream(exchange), request=request)

    async def aclose(self) -> None:
        await self._port.lifespan.stop()


class LoopThread:
    """An event loop in a thread, for callers that have none."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True, name="asgi")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that runs in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class _SyncStream(httpx2.SyncByteStream):
    def __init__(self, exchange: Exchange, thread: LoopThread) -> None:
        self._exchange = exchange
        self._thread = thread

    def __iter__(self) -> Iterator[bytes]:
        chunks = self._exchange.stream().__aiter__()

        async def following() -> bytes | None:
            return await anext(chunks, None)

        while (chunk := self._thread.run(following())) is not None:
            yield chunk

    def close(self) -> None:
        self._thread.run(self._exchange.close())


class SyncASGITransport(httpx2.BaseTransport):
    """For `httpx2.Client`; the app runs in a thread of the transport."""

    def __init__(self, app: App, *, client: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self._thread = LoopThread()

        async def build() -> _Port:
            return _Port(app, client=client)

        self._port = self._thread.run(build())

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = self._thread.run(self._port.exchange(request, request.read()))
        return httpx2.Response(
            exchange.status, headers=exchange.headers, stream=_SyncStream(exchange, self._thread), request=request
        )

    def close(self) -> None:
        if not self._thread.loop.is_closed():
            self._thread.run(self._port.lifespan.stop())
            self._thread.close()
