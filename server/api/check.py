"""`/v1/alignment/check`: scores of a text that is there already. Nothing is generated, so no lock applies."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.refusal import validated
from trimtab.server.api.respond import within_limits
from trimtab.server.api.schemas.check import CheckRequest
from trimtab.server.evaluation.checking import check
from trimtab.server.exchange import Principal
from trimtab.server.service import Service

router = APIRouter(tags=["alignment"])

Caller = Annotated[Principal, Depends(require("infer"))]


@router.post("/v1/alignment/check", openapi_extra=documented(CheckRequest))
async def check_text(request: Request, caller: Caller) -> dict[str, Any]:
    """Score a given `text` or the last answer of `messages` with scorers, or hold it against rules, without generating."""
    service: Service = request.app.state.service
    wanted = validated(CheckRequest, await read_object(request))
    found: dict[str, Any] = await within_limits(request, caller, lambda: check(service, wanted, caller))
    return found
