"""The OpenAPI document and a page that shows it; both work without a network."""

import copy
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from trimtab.server.api.docs_page import PAGE
from trimtab.server.middleware.authentication import PUBLIC

router = APIRouter(include_in_schema=False)


class ErrorObject(BaseModel):
    """What went wrong."""

    message: str = Field(description="In words.")
    type: str = Field(description="The class of error, e.g. invalid_request_error.")
    param: str | None = Field(description="Dotted path of the field, where one is to blame.")
    code: str = Field(description="Stable name of the error, e.g. unsupported_parameter.")


class ErrorEnvelope(BaseModel):
    """The body of every error."""

    error: ErrorObject


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorEnvelope, "description": "The request cannot be served as it stands."},
    "5XX": {"model": ErrorEnvelope, "description": "The server or an engine cannot serve it now."},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: the real request schemas, the error envelope, bearer keys on all but the health checks."""
    key: list[dict[str, list[str]]] = [{"bearer": []}] if app.state.gate.keyed else [{"bearer": []}, {}]
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = document.setdefault("components", {})
        _hoist(document, components.setdefault("schemas", {}))
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in PUBLIC else key
        app.openapi_schema = document
    return app.openapi_schema


def _hoist(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move the definitions inside request bodies to the components they refer to."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                media["schema"] = copy.deepcopy(media["schema"])
                schemas.update(media["schema"].pop("$defs", {}))


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs() -> HTMLResponse:
    """A page that shows it."""
    inline = "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    headers = {"content-security-policy": f"default-src 'none'; {inline}; connect-src 'self'"}
    return HTMLResponse(PAGE, headers=headers)
