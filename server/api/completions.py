"""`/v1/completions`: raw prompts in, continuations out; prompts are text or token ids, one or many."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.refusal import validated
from trimtab.server.api.respond import inbound, respond
from trimtab.server.api.schemas.completions import CompletionRequest
from trimtab.server.exchange import Answer, Principal, StreamAnswer
from trimtab.server.service import Service

router = APIRouter(tags=["completions"])

DEFAULT_MAX_TOKENS = 16
"""OpenAI's default length of a continuation."""


@router.post("/v1/completions", response_model=None, openapi_extra=documented(CompletionRequest))
async def create_completion(request: Request, caller: Annotated[Principal, Depends(require("infer"))]) -> Response:
    """Continuations of one or more raw prompts, whole or as a stream of events."""
    service: Service = request.app.state.service
    body = completion_body(await read_object(request), default_model=service.models()[0])
    incoming = inbound(request, body, caller)

    async def work() -> Answer | StreamAnswer:
        return await (service.completion_stream(incoming) if body.get("stream") else service.completion(incoming))

    return respond(request, caller, work)


def completion_body(raw: dict[str, Any], *, default_model: str) -> dict[str, Any]:
    """The validated body with its defaults spelled out. Raises RequestRefused."""
    body = validated(CompletionRequest, raw).wire()
    if body.get("model") is None:
        body["model"] = default_model
    if body.get("max_tokens") is None:
        body["max_tokens"] = DEFAULT_MAX_TOKENS
    return body
