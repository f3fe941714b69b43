"""`/v1/models`: what is served, the default chat model first; aliases `model:pipeline` and embedding models follow.

The weights of a model that is served can be replaced, by keys of the scope `admin`. A server without keys takes them only where
no other machine can reach it: whoever may do so decides what everybody is answered.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.respond import within_limits
from trimtab.server.api.schemas.weights import WeightsRequest, weights_directory
from trimtab.server.errors import Forbidden
from trimtab.server.service import Principal, Service
from trimtab.server.settings import Settings

router = APIRouter(tags=["models"])

Caller = Annotated[Principal, Depends(require("infer"))]
Administrator = Annotated[Principal, Depends(require("admin"))]


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


@router.post("/v1/models/{model:path}/weights", openapi_extra=documented(WeightsRequest))
async def push_weights(model: str, request: Request, caller: Administrator) -> dict[str, Any]:
    """Serve a model with the weights of another checkpoint of it; requests under way end on the old ones, new ones wait."""
    settings: Settings = request.app.state.settings
    if not (settings.keys or settings.http.is_private):
        raise Forbidden(
            f"this server asks for no key and listens on {settings.http.host}, where other machines reach it: weights are "
            "replaced only with a key of the scope 'admin', or on loopback or a Unix socket"
        )
    directory = weights_directory(await read_object(request))
    service: Service = request.app.state.service
    answer: dict[str, Any] = await within_limits(request, caller, lambda: service.push_weights(model, directory, caller))
    return answer
