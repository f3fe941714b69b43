"""`/v1/models`: what is served, the default chat model first; aliases `model:pipeline` and embedding models follow."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from trimtab.server.api.auth import require
from trimtab.server.service import Principal, Service

router = APIRouter(tags=["models"])

Caller = Annotated[Principal, Depends(require("infer"))]


@router.get("/v1/models")
async def list_models(request: Request, caller: Caller) -> dict[str, Any]:
    """Every name a request may give as `model`."""
    service: Service = request.app.state.service
    return {"object": "list", "data": [service.model_card(name) for name in service.models()]}


@router.get("/v1/models/{model:path}")
async def retrieve_model(model: str, request: Request, caller: Caller) -> dict[str, Any]:
    """One of them; names with a slash are found both plain and percent-encoded."""
    service: Service = request.app.state.service
    return service.model_card(model)
