"""Chunks reach the caller when they are sent, with the alignment on the last one."""

import httpx2
import pytest

from tests.asgi import ASGITransport, SyncASGITransport
from tests.server.client.paced import Paced
from trimtab import AsyncOpenAI, OpenAI

MESSAGES = [{"role": "user", "content": "hi"}]
URL = "http://test/v1"


def sync_client(app: Paced) -> OpenAI:
    return OpenAI(base_url=URL, model="m", http_client=httpx2.Client(transport=SyncASGITransport(app)))


def async_client(app: Paced) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=URL, model="m", http_client=httpx2.AsyncClient(transport=ASGITransport(app)))


def test_the_first_chunk_arrives_before_the_rest_is_sent() -> None:
    app = Paced()
    with sync_client(app) as client:
        chunks = client.chat.completions.create(messages=MESSAGES, stream=True)
        assert next(chunks).choices[0].delta.content == "Hel"
        app.arrived.set()
        (last,) = chunks
        assert last.alignment is not None
        assert (last.alignment.status, last.alignment.warnings, last.alignment.new) == ("applied", ["w"], 1)


async def test_the_first_chunk_arrives_before_the_rest_is_sent_async() -> None:
    app = Paced()
    async with async_client(app) as client:
        chunks = await client.chat.completions.create(messages=MESSAGES, stream=True)
        first = await anext(aiter(chunks))
        assert (first.choices[0].delta.content, first.alignment) == ("Hel", None)
        app.arrived.set()
        (last,) = [chunk async for chunk in chunks]
        assert last.alignment is not None
        assert last.alignment.changed is True


def test_the_stream_helper_delivers_events_at_once_and_keeps_the_alignment() -> None:
    app = Paced()
    with sync_client(app) as client, client.chat.completions.stream(messages=MESSAGES, alignment="rain") as stream:
        for event in stream:
            if event.type == "content.delta":
                app.arrived.set()
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Hello"
    assert final.alignment is not None
    assert final.alignment.strategy == ["value_prompt"]
    assert stream.alignment == final.alignment
    assert app.bodies[0]["alignment"] == {"strategy": "rain"}


async def test_the_stream_helper_async() -> None:
    app = Paced()
    async with async_client(app) as client, client.chat.completions.stream(messages=MESSAGES) as stream:
        async for event in stream:
            if event.type == "content.delta":
                app.arrived.set()
        final = await stream.get_final_completion()
    assert (final.choices[0].message.content, final.alignment is not None) == ("Hello", True)


@pytest.mark.parametrize("leave_after", [0, 1])
def test_leaving_a_stream_early_closes_it(leave_after: int) -> None:
    app = Paced()
    with sync_client(app) as client:
        with client.chat.completions.create(messages=MESSAGES, stream=True) as chunks:
            for _ in range(leave_after):
                next(chunks)
            app.arrived.set()
        assert chunks.response.is_closed
