"""The route of `/v1/responses`: a chat request under another name, so that every pipeline, lock and cap applies to it."""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.errors import error_object
from trimtab.server.api.refusal import validated
from trimtab.server.api.respond import inbound, respond
from trimtab.server.api.responses import answer
from trimtab.server.api.responses.request import chat_param, to_chat
from trimtab.server.api.responses.stream import EventWriter
from trimtab.server.api.schemas.caps import check_caps
from trimtab.server.api.schemas.chat import chat_body
from trimtab.server.api.schemas.responses import ResponsesRequest
from trimtab.server.errors import ServerError
from trimtab.server.exchange import Answer, Principal, StreamAnswer
from trimtab.server.service import Service
from trimtab.server.wire import dumps
from trimtab.strategies.core.errors import RequestRefused, StrategyError

router = APIRouter(tags=["responses"])

Caller = Annotated[Principal, Depends(require("infer"))]


@router.post("/v1/responses", response_model=None, openapi_extra=documented(ResponsesRequest))
async def create_response(request: Request, caller: Caller) -> Response:
    """The answer to `input`, whole or as a stream of typed events. Nothing is stored."""
    service: Service = request.app.state.service
    body = await read_object(request)
    check_caps(body, service.settings.limits, "responses")
    wanted = validated(ResponsesRequest, body)
    with _own_names():
        chat = chat_body({"model": service.models()[0], **to_chat(wanted)})
    incoming = inbound(request, chat, caller)
    begun = answer.begin(wanted, chat["model"])

    async def work() -> Answer | StreamAnswer:
        with _own_names():
            if not wanted.stream:
                whole = await service.chat(incoming)
                return Answer(answer.complete(begun, whole.body), whole.headers)
            stream = await service.chat_stream(incoming)
            return StreamAnswer(events(stream, EventWriter(begun)), stream.headers, stream.keep_alive_s)

    return respond(request, caller, work, frame=frame, done=b"")


async def events(stream: StreamAnswer, writer: EventWriter) -> AsyncGenerator[str, None]:
    """The typed events of a chat stream as JSON strings. A failure before the first chunk is raised, a later one told."""
    async with aclosing(stream.events) as chunks:
        with _own_names():
            first = await anext(chunks, None)
        for event in (*writer.begin(), *_fed(writer, first)):
            yield dumps(event)
        try:
            async for chunk in chunks:
                for event in _fed(writer, chunk):
                    yield dumps(event)
            last = writer.end()
        except (StrategyError, ServerError) as error:
            last = writer.fail(error_object(error)[1]["error"])
        for event in last:
            yield dumps(event)


def frame(event: str) -> bytes:
    """An event with its type as the event's name, as OpenAI sends it."""
    name = event.split('"', 4)[3] if event.startswith('{"type":"') else "error"
    return f"event: {name}\ndata: {event}\n\n".encode()


def _fed(writer: EventWriter, chunk: str | None) -> list[dict[str, Any]]:
    parsed: Mapping[str, Any] = json.loads(chunk) if chunk is not None else {}
    return writer.feed(parsed)


@contextmanager
def _own_names() -> Iterator[None]:
    """Let errors of the chat request name this request's fields."""
    try:
        yield
    except RequestRefused as error:
        error.param = chat_param(error.param)
        raise
