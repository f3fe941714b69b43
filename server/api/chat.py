"""`/v1/chat/completions`: conversations in, answers out, aligned or passed through."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.respond import inbound, respond
from trimtab.server.api.schemas.chat import ChatCompletionRequest, chat_body
from trimtab.server.api.schemas.wire import unknown_fields
from trimtab.server.exchange import Answer, Principal, StreamAnswer
from trimtab.server.service import Service

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", response_model=None, openapi_extra=documented(ChatCompletionRequest))
async def create_chat_completion(request: Request, caller: Annotated[Principal, Depends(require("infer"))]) -> Response:
    """The answer to a conversation, whole or as a stream of events."""
    service: Service = request.app.state.service
    body = chat_body(await read_object(request))
    incoming = inbound(request, body, caller)

    async def work() -> Answer | StreamAnswer:
        return await (service.chat_stream(incoming) if body.get("stream") else service.chat(incoming))

    return respond(request, caller, work, unknown=unknown_fields(ChatCompletionRequest, body))
