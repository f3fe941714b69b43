"""A small HTTP client for measurements: raw sockets, server-sent events, time stamps where bytes arrive."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timed:
    """One answer as the client saw it; times in seconds."""

    ttft_s: float
    """From sending to the first event with text."""
    total_s: float
    """From sending to the end of the answer."""
    tokens: int
    """Completion tokens by the answer's own usage."""
    alignment: Mapping[str, Any] | None = None
    """What the answer says of its alignment."""


class Connection:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._writer is not None
        self._writer.close()

    async def stream(self, path: str, body: Mapping[str, Any]) -> Timed:
        """Ask for a streamed answer, of a chat or a raw prompt, and read it to its end."""
        begin = time.perf_counter()
        await self._send(path, {**body, "stream": True, "stream_options": {"include_usage": True}})
        first, tokens, alignment = None, 0, None
        async for event in self._events():
            if first is None and _has_text(event):
                first = time.perf_counter()
            if b'"usage":{' in event:
                tokens = json.loads(event)["usage"]["completion_tokens"]
            if b'"alignment":{' in event:
                alignment = json.loads(event)["alignment"]
        end = time.perf_counter()
        if first is None:
            raise RuntimeError("the answer held no text")
        return Timed(first - begin, end - begin, tokens, alignment)

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[float, Any]:
        """Seconds and the JSON of a whole answer."""
        begin = time.perf_counter()
        await self._send(path, body)
        answer = json.loads(b"".join([piece async for piece in self._body()]))
        return time.perf_counter() - begin, answer

    async def _send(self, path: str, body: Mapping[str, Any]) -> None:
        assert self._writer is not None
        payload = json.dumps(body).encode()
        headers = f"host: {self._host}\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}"
        head = f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n"
        self._writer.write(head.encode() + payload)
        await self._writer.drain()

    async def _events(self) -> AsyncIterator[bytes]:
        """The data of each server-sent event but [DONE]."""
        rest = b""
        async for piece in self._body():
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                data = event.removeprefix(b"data: ")
                if data.startswith(b'{"error"'):
                    raise RuntimeError(data.decode())
                if data.startswith(b"{"):
                    yield data

    async def _body(self) -> AsyncIterator[bytes]:
        """The pieces of a response body."""
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" in head:
            pieces = self._chunks()
        else:
            length = int(head.split(b"content-length:")[1].split(b"\r\n", 1)[0])
            pieces = self._exactly(length)
        if status != 200:
            raise RuntimeError(f"{status}: {b''.join([p async for p in pieces]).decode()[:500]}")
        async for piece in pieces:
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        assert self._reader is not None
        while size := int((await self._reader.readline()).split(b";")[0], 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()

    async def _exactly(self, length: int) -> AsyncIterator[bytes]:
        assert self._reader is not None
        yield await self._reader.readexactly(length)


def _has_text(event: bytes) -> bool:
    """Whether a chunk shows any of the answer."""
    return any(b'"%b":"' % name in event and b'"%b":""' % name not in event for name in (b"content", b"text"))


async def load(host: str, port: int, path: str, bodies: list[dict[str, Any]], concurrency: int) -> tuple[float, list[Timed]]:
    """Answer all bodies, `concurrency` at a time; seconds over all, and each answer."""
    waiting = list(reversed(bodies))
    answers: list[Timed] = []

    async def worker(connection: Connection) -> None:
        while waiting:
            answers.append(await connection.stream(path, waiting.pop()))

    connections = [await Connection(host, port).__aenter__() for _ in range(concurrency)]
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(worker(connection))
    elapsed = time.perf_counter() - begin
    for connection in connections:
        await connection.__aexit__()
    return elapsed, answers
