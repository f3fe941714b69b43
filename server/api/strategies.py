"""What this server can do: the catalogue of strategies with their JSON schemas, and its version."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from trimtab.server.api.auth import require
from trimtab.server.errors import NotFound
from trimtab.server.exchange import Principal
from trimtab.version import VERSION

router = APIRouter(tags=["alignment"])

Caller = Annotated[Principal, Depends(require("infer"))]


@router.get("/v1/alignment/strategies")
async def list_strategies(request: Request, caller: Caller) -> dict[str, Any]:
    """Every strategy: kind, role, JSON schema of its parameters, what it does, how it streams and what it needs."""
    return {"object": "list", "data": request.app.state.service.catalogue()}


@router.get("/v1/alignment/strategies/{kind}")
async def retrieve_strategy(kind: str, request: Request, caller: Caller) -> dict[str, Any]:
    """One strategy of the catalogue."""
    catalogue: list[dict[str, Any]] = request.app.state.service.catalogue()
    for entry in catalogue:
        if entry["kind"] == kind:
            return entry
    kinds = ", ".join(entry["kind"] for entry in catalogue)
    raise NotFound(f"there is no strategy {kind!r}; there are: {kinds}", param="kind", code="strategy_not_found")


@router.get("/version", tags=["health"])
async def version(caller: Caller) -> dict[str, str]:
    """The version of Trimtab, nothing else."""
    return {"version": VERSION}
