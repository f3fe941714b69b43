"""Health: whether the process lives, whether it can serve. Open to everybody, and silent about anything else."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from trimtab.server.api.limits import Admission

router = APIRouter(tags=["health"])

_UNREADY: dict[int | str, dict[str, Any]] = {503: {"description": "Not ready; `retry-after` tells when to ask again."}}


@router.get("/livez", summary="Whether the process lives")
async def livez() -> dict[str, str]:
    """Always 200 while the process can answer."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether requests can be served", responses=_UNREADY)
@router.get("/health", summary="The same as /readyz", responses=_UNREADY)
async def readyz(request: Request) -> JSONResponse:
    """200 while every engine serves; else 503 with the state of each."""
    state, engines, wait_s = readiness(request.app.state)
    ready = state == "ready"
    headers = {} if ready else {"retry-after": str(max(1, round(wait_s)))}
    return JSONResponse({"status": state, "engines": engines}, status_code=200 if ready else 503, headers=headers)


def readiness(app_state: Any) -> tuple[str, dict[str, str], float]:
    """ready, starting, draining, failed or degraded; each engine's own state; seconds until another try makes sense."""
    admission: Admission = app_state.gate.admission
    if app_state.failure is not None:
        return "failed", {}, 60.0
    if admission.state != "open":
        return admission.state, {}, 5.0
    healths = {name: engine.health() for name, engine in engines(app_state.service).items()}
    states = {name: health.state for name, health in healths.items()}
    if all(state == "ready" for state in states.values()):
        return "ready", states, 0.0
    return "degraded", states, max(health.retry_after_s for health in healths.values() if health.state != "ready")


def engines(service: Any) -> dict[str, Any]:
    """Every engine once, by the model or role it serves."""
    named: dict[int, tuple[str, Any]] = {}
    models = {name: model.engine for name, model in service.registry.models.items()}
    for name, engine in (*models.items(), *((f"role {role}", engine) for role, engine in service.roles.items())):
        named.setdefault(id(engine), (name, engine))
    return dict(named.values())
