"""The test transport itself: chunks when they are sent, the lifespan, a client that goes."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import httpx
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tests.asgi import ASGITransport, LegacyASGITransport, SyncASGITransport


class Paced:
    """Streams `a`, and `b` only when it is told to go on."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.log: list[str] = []

    def app(self) -> Starlette:
        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            self.log.append("up")
            yield
            self.log.append("down")

        async def stream(request: Request) -> StreamingResponse:
            async def chunks() -> AsyncIterator[bytes]:
                try:
                    yield b"a"
                    await asyncio.to_thread(self.go.wait, 5)
                    yield b"b"
                except (asyncio.CancelledError, GeneratorExit):
                    self.log.append("cancelled")
                    raise

            return StreamingResponse(chunks())

        async def echo(request: Request) -> JSONResponse:
            return JSONResponse({"body": (await request.body()).decode(), "query": request.url.query}, 201)

        async def broken(request: Request) -> JSONResponse:
            raise ZeroDivisionError("broken app")

        routes = [Route("/stream", stream), Route("/echo", echo, methods=["POST"]), Route("/broken", broken)]
        return Starlette(routes=routes, lifespan=lifespan)


async def test_chunks_arrive_when_sent_and_the_lifespan_runs() -> None:
    paced = Paced()
    async with httpx2.AsyncClient(transport=ASGITransport(paced.app()), base_url="http://test") as client:
        async with client.stream("GET", "/stream") as response:
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"a"
            paced.go.set()
            assert await anext(chunks) == b"b"
        assert (await client.post("/echo?x=1", content=b"hi")).json() == {"body": "hi", "query": "x=1"}
        assert paced.log == ["up"]
    assert paced.log == ["up", "down"]


async def test_a_client_that_goes_is_a_disconnect() -> None:
    paced = Paced()
    async with httpx2.AsyncClient(transport=ASGITransport(paced.app()), base_url="http://test") as client:
        async with client.stream("GET", "/stream") as response:
            assert await anext(response.aiter_raw()) == b"a"
        paced.go.set()
        assert paced.log == ["up", "cancelled"]


async def test_an_error_of_the_app_reaches_the_test() -> None:
    async with httpx2.AsyncClient(transport=ASGITransport(Paced().app()), base_url="http://test") as client:
        with pytest.raises(ZeroDivisionError):
            await client.get("/broken")


def test_sync_chunks_arrive_when_sent() -> None:
    paced = Paced()
    with httpx2.Client(transport=SyncASGITransport(paced.app()), base_url="http://test") as client:
        with client.stream("GET", "/stream") as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"a"
            paced.go.set()
            assert list(chunks) == [b"b"]
        assert client.post("/echo", content=b"hi").status_code == 201
    assert paced.log == ["up", "down"]


async def test_legacy_httpx() -> None:
    paced = Paced()
    paced.go.set()
    async with httpx.AsyncClient(transport=LegacyASGITransport(paced.app()), base_url="http://test") as client:
        assert (await client.get("/stream")).text == "ab"
