"""`/tokenize`, `/detokenize` and `/tokenizer_info`: what the engine will see of a prompt or a conversation."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.refusal import validated
from trimtab.server.api.respond import inbound, within_limits
from trimtab.server.api.schemas.caps import check_caps
from trimtab.server.api.schemas.chat import chat_body
from trimtab.server.api.schemas.tokenize import DetokenizeRequest, TokenizeRequest
from trimtab.server.exchange import Inbound, Principal
from trimtab.server.service import Service
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import Text

router = APIRouter(tags=["tokenizer"])

Caller = Annotated[Principal, Depends(require("infer"))]


@router.post("/tokenize", openapi_extra=documented(TokenizeRequest))
async def tokenize(request: Request, caller: Caller) -> dict[str, Any]:
    """The ids of a raw `prompt`, or of `messages` rendered by the model's chat template, shaped where `alignment` is given."""
    service: Service = request.app.state.service
    body = validated(TokenizeRequest, await read_object(request))
    name = body.model or service.models()[0]
    face = service.tokenizer(name, caller)
    if body.messages is None:
        special = body.add_special_tokens is not False
        ids = await asyncio.to_thread(face.tokenize_text, body.prompt or "", add_special_tokens=special)
    else:
        chat = chat_body({"model": name, **body.chat_fields()})
        check_caps(chat, service.settings.limits, "chat")
        if body.alignment is not None:
            ids = await within_limits(request, caller, lambda: _shaped_ids(service, inbound(request, chat, caller)))
        else:
            ids = await asyncio.to_thread(face.tokenize_chat, chat)
    return {
        "tokens": ids,
        "count": len(ids),
        "max_model_len": service.max_model_len(name),
        "token_strs": await asyncio.to_thread(face.token_strings, ids) if body.return_token_strs else None,
    }


async def _shaped_ids(service: Service, asked: Inbound) -> list[int]:
    """The ids of a chat request after its pipeline's shapers."""
    prompt, name = await service.shaped(asked), asked.body["model"]
    if isinstance(prompt, Text):
        ports = service.registry.resolve(name).model.engine.ports
        if ports.tokens is None:
            raise RequestRefused(
                "this engine does not show the ids of a raw prompt", param="alignment", code="unsupported_by_engine"
            )
        return list(await asyncio.to_thread(ports.tokens.encode_text, prompt))
    chat = {**asked.body, "messages": prompt.wire()}
    if prompt.prefill is not None:
        chat["messages"].append({"role": "assistant", "content": prompt.prefill})
        chat.update(continue_final_message=True, add_generation_prompt=False)
    return await asyncio.to_thread(service.tokenizer(name, asked.principal).tokenize_chat, chat)


@router.post("/detokenize", openapi_extra=documented(DetokenizeRequest))
async def detokenize(request: Request, caller: Caller) -> dict[str, Any]:
    """The text of ids, control tokens shown."""
    service: Service = request.app.state.service
    body = validated(DetokenizeRequest, await read_object(request))
    face = service.tokenizer(body.model, caller)
    info = await asyncio.to_thread(face.info)
    check_vocabulary(body.tokens, info.get("vocab_size"))
    return {"prompt": await asyncio.to_thread(face.detokenize, body.tokens)}


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request, caller: Caller, model: str | None = None) -> dict[str, Any]:
    """Special tokens, chat template and class of the tokenizer."""
    service: Service = request.app.state.service
    return await asyncio.to_thread(service.tokenizer(model, caller).info)


def check_vocabulary(token_ids: Sequence[int], size: int | None) -> None:
    """Raise RequestRefused for the first id outside the vocabulary; an unknown `size` lets all pass."""
    for index, token in enumerate(token_ids):
        if size is not None and token >= size:
            raise RequestRefused(f"token id {token} is outside the vocabulary of {size} ids", param=f"tokens.{index}")
