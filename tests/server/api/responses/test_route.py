"""Streams of chat chunks on their way out: framing, keep-alive silence, failures before and after the first chunk."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.server.api.serving import scripted, serving
from trimtab.server.api.responses.answer import begin
from trimtab.server.api.responses.route import events, frame
from trimtab.server.api.responses.stream import EventWriter
from trimtab.server.api.schemas.responses import ResponsesRequest
from trimtab.server.exchange import StreamAnswer
from trimtab.strategies.core.errors import EngineUnavailable, RequestRefused

CHUNK = json.dumps({"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]})


def writer() -> EventWriter:
    return EventWriter(begin(ResponsesRequest(input="Hi", stream=True), "m"))


async def chunks(*items: str | Exception) -> AsyncGenerator[str, None]:
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


async def written(*items: str | Exception) -> list[dict[str, Any]]:
    return [json.loads(event) async for event in events(StreamAnswer(chunks(*items)), writer())]


async def test_a_failure_before_the_first_chunk_is_raised_under_this_endpoints_names() -> None:
    refused = RequestRefused("too long", param="messages", code="context_length_exceeded")
    with pytest.raises(RequestRefused) as caught:
        await written(refused)
    assert caught.value.param == "input"


async def test_a_failure_after_it_is_told_in_the_stream() -> None:
    told = await written(CHUNK, EngineUnavailable("the engine died"))
    assert [event["type"] for event in told[-2:]] == ["response.output_item.done", "response.failed"]
    assert told[-1]["response"]["error"]["message"] == "the engine died (engine_unavailable)"


async def test_leaving_early_closes_the_chat_stream() -> None:
    source = chunks(CHUNK, CHUNK)
    outgoing = events(StreamAnswer(source), writer())
    await anext(outgoing)
    await outgoing.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(source)


def test_events_are_framed_with_their_type() -> None:
    assert frame('{"type":"response.created","x":1}') == b'event: response.created\ndata: {"type":"response.created","x":1}\n\n'
    assert frame('{"error":{"message":"m"}}') == b'event: error\ndata: {"error":{"message":"m"}}\n\n'


@pytest.mark.parametrize(
    "wrong", [{"stop": 5}, {"stop": [None]}, {"input": [{"role": ["x"], "content": "x"}]}, {"input": [{"type": ["x"]}]}]
)
async def test_wrong_types_are_a_400(wrong: dict[str, Any]) -> None:
    async with serving(scripted()) as server:
        answer = await server.http.post("/v1/responses", json={"input": "x", **wrong})
    assert answer.status_code == 400
