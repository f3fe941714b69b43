"""`/tokenize`, `/detokenize` and `/tokenizer_info`: what the engine will see of a prompt or a conversation."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.refusal import validated
from trimtab.server.api.schemas.caps import check_caps
from trimtab.server.api.schemas.chat import chat_body
from trimtab.server.api.schemas.tokenize import DetokenizeRequest, TokenizeRequest
from trimtab.server.exchange import Principal
from trimtab.server.service import Service
from trimtab.strategies.core.errors import RequestRefused

router = APIRouter(tags=["tokenizer"])

Caller = Annotated[Principal, Depends(require("infer"))]


@router.post("/tokenize", openapi_extra=documented(TokenizeRequest))
async def tokenize(request: Request, caller: Caller) -> dict[str, Any]:
    """The ids of a raw `prompt`, or of `messages` rendered by the model's chat template."""
    service: Service = request.app.state.service
    body = validated(TokenizeRequest, await read_object(request))
    face = service.tokenizer(body.model)
    if body.messages is None:
        special = body.add_special_tokens is not False
        ids = await asyncio.to_thread(face.tokenize_text, body.prompt or "", add_special_tokens=special)
    else:
        chat = chat_body({"model": body.model or service.models()[0], **body.chat_fields()})
        check_caps(chat, service.settings.limits, "chat")
        ids = await asyncio.to_thread(face.tokenize_chat, chat)
    return {
        "tokens": ids,
        "count": len(ids),
        "max_model_len": service.max_model_len(body.model),
        "token_strs": await asyncio.to_thread(face.token_strings, ids) if body.return_token_strs else None,
    }


@router.post("/detokenize", openapi_extra=documented(DetokenizeRequest))
async def detokenize(request: Request, caller: Caller) -> dict[str, Any]:
    """The text of ids, control tokens shown."""
    service: Service = request.app.state.service
    body = validated(DetokenizeRequest, await read_object(request))
    face = service.tokenizer(body.model)
    info = await asyncio.to_thread(face.info)
    check_vocabulary(body.tokens, info.get("vocab_size"))
    return {"prompt": await asyncio.to_thread(face.detokenize, body.tokens)}


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request, caller: Caller, model: str | None = None) -> dict[str, Any]:
    """Special tokens, chat template and class of the tokenizer."""
    service: Service = request.app.state.service
    return await asyncio.to_thread(service.tokenizer(model).info)


def check_vocabulary(token_ids: Sequence[int], size: int | None) -> None:
    """Raise RequestRefused for the first id outside the vocabulary; an unknown `size` lets all pass."""
    for index, token in enumerate(token_ids):
        if size is not None and token >= size:
            raise RequestRefused(f"token id {token} is outside the vocabulary of {size} ids", param=f"tokens.{index}")
