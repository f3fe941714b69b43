"""`/v1/completions`: raw prompts in, continuations out; prompts are text or token ids, one or many."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.respond import inbound, respond
from trimtab.server.api.schemas.completions import CompletionRequest, completion_body
from trimtab.server.api.schemas.wire import unknown_fields
from trimtab.server.exchange import Answer, Principal, StreamAnswer
from trimtab.server.service import Service

router = APIRouter(tags=["completions"])

DEFAULT_MAX_TOKENS = 16
"""OpenAI's default length of a continuation; spelled out so that every engine agrees on it."""


@router.post("/v1/completions", response_model=None, openapi_extra=documented(CompletionRequest))
async def create_completion(request: Request, caller: Annotated[Principal, Depends(require("infer"))]) -> Response:
    """Continuations of one or more raw prompts, whole or as a stream of events."""
    service: Service = request.app.state.service
    body = completion_defaults(completion_body(await read_object(request)))
    incoming = inbound(request, body, caller)

    async def work() -> Answer | StreamAnswer:
        return await (service.completion_stream(incoming) if body.get("stream") else service.completion(incoming))

    return respond(request, caller, work, unknown=unknown_fields(CompletionRequest, body))


def completion_defaults(body: dict[str, Any]) -> dict[str, Any]:
    """The body with what OpenAI assumes of it."""
    return body if body.get("max_tokens") is not None else {**body, "max_tokens": DEFAULT_MAX_TOKENS}
