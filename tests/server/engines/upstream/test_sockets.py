"""Over a real loopback socket: silence, a cut stream, a reset connection, a server that goes and comes back."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from tests.server.engines.upstream import fake as upstream
from tests.server.engines.upstream.fake import FakeUpstream
from trimtab.server.engines.upstream import UpstreamEngine
from trimtab.server.settings import UpstreamConfig
from trimtab.strategies.core.engine import Call
from trimtab.strategies.core.errors import EngineUnavailable, UpstreamError, UpstreamTimeout

CALL = Call("req-1")
BODY = {"model": "mine", "messages": [{"role": "user", "content": "hi"}]}
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def uvicorn_server(fake: FakeUpstream, port: int = 0) -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(fake.app(), port=0, log_level="error", timeout_graceful_shutdown=1))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    task = asyncio.create_task(server.serve([sock]))
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        sock.close()


@asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def engine_on(port: int, **config: Any) -> AsyncIterator[UpstreamEngine]:
    settings = {"url": f"http://127.0.0.1:{port}/v1", "model": "big-model", "probe": False, "max_retries": 0, **config}
    engine = UpstreamEngine(UpstreamConfig.model_validate(settings), name="mine")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def test_a_whole_conversation_over_a_socket_and_a_client_that_leaves() -> None:
    fake = FakeUpstream()
    async with uvicorn_server(fake) as port, engine_on(port, probe=True) as engine:
        assert (await engine.wire.chat(BODY, CALL))["choices"][0]["message"]["content"] == "hello world"
        fake.next_answers.append(fake.hanging)
        stream = engine.wire.chat_stream(BODY, CALL)
        assert await anext(stream)
        await stream.aclose()
        await asyncio.wait_for(fake.left.wait(), 5)


async def test_silence_is_a_timeout_and_is_not_repeated() -> None:
    fake = FakeUpstream()
    fake.next_answers.extend([fake.hanging] * 2)
    async with uvicorn_server(fake) as port, engine_on(port, timeout_s=0.2, max_retries=2) as engine:
        stream = engine.wire.chat_stream(BODY, CALL)
        assert await anext(stream)
        with pytest.raises(UpstreamTimeout) as caught:
            await anext(stream)
    assert caught.value.status == 504


async def test_a_server_that_never_answers_is_a_timeout() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    async with raw_server(serve) as port, engine_on(port, timeout_s=0.2, max_retries=2) as engine:
        with pytest.raises(UpstreamTimeout):
            await engine.wire.chat(BODY, CALL)
        assert engine.health().state == "ready"
    assert connections == 1


def answering(start: bytes, *, reset: bool) -> Serve:
    """Sends the start of a chunked answer, then closes the connection in the middle, or resets it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        await writer.drain()
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    return serve


def chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n"


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_stream_is_an_error(reset: bool) -> None:
    start = chunked(upstream.data(upstream.chat_chunks(BODY, "big-model")[0]))
    async with raw_server(answering(start, reset=reset)) as port, engine_on(port) as engine:
        stream = engine.wire.chat_stream(BODY, CALL)
        with pytest.raises(UpstreamError, match="cut"):
            [chunk async for chunk in stream]


async def test_a_connection_cut_behind_the_finish_reason_is_forgiven() -> None:
    chunks = b"".join(map(upstream.data, upstream.chat_chunks(BODY, "big-model")))
    async with raw_server(answering(chunked(chunks), reset=False)) as port, engine_on(port) as engine:
        assert len([chunk async for chunk in engine.wire.chat_stream(BODY, CALL)]) == 3


async def test_a_reset_before_the_answer_is_repeated() -> None:
    attempts = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        await answering(b"", reset=attempts == 1)(reader, writer) if attempts == 1 else await answer(reader, writer)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"choices": [], "model": "big-model"}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with raw_server(serve) as port, engine_on(port, max_retries=1) as engine:
        assert (await engine.wire.chat(BODY, CALL))["model"] == "mine"
    assert attempts == 2


async def test_health_follows_a_server_that_goes_and_comes_back() -> None:
    fake = FakeUpstream()
    async with uvicorn_server(fake) as port, engine_on(port) as engine:
        await engine.wire.chat(BODY, CALL)
        assert engine.health().state == "ready"
    async with engine_on(port) as engine:
        with pytest.raises(EngineUnavailable, match="cannot be reached"):
            await engine.wire.chat(BODY, CALL)
        health = engine.health()
        assert health.state == "restarting"
        assert str(port) in health.reason
        async with uvicorn_server(fake, port), asyncio.timeout(10):
            while engine.health().state != "ready":  # noqa: ASYNC110 - health is polled, as a load balancer does
                await asyncio.sleep(0.05)
