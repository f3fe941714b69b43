"""The page on which one person rates pairs: an app for this machine alone, which knows pairs and ratings and no log.

Whoever does not know the token in the address finds nothing. Answers are hostile text: the page gets them as JSON and shows
them as text nodes, and its policy allows its own style and script by their hashes, and requests to its own server.
"""

import asyncio
import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from trimtab.server.evaluation.raters.pairs import Pair, RatersError, first_fault
from trimtab.server.evaluation.raters.ratings import Choice, RatingFile

HOSTS = ["127.0.0.1", "localhost"]
"""Names under which the page answers: another site whose name is made to mean this machine gets nothing."""
MOST_BYTES = 10_000
"""Of what the page sends."""
_HERE = Path(__file__)


class Rated(BaseModel):
    """What the page sends when a button is pressed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pair: str
    choice: Choice


def rating_app(pairs: Sequence[Pair], ratings: RatingFile, token: str) -> Starlette:
    """The app; its page is at `/TOKEN/`. A rating is on the disk before it is acknowledged."""
    desk = _Desk(pairs, ratings)
    routes = [
        Route("/{token}/", _guarded(token, desk.page)),
        Route("/{token}/state", _guarded(token, desk.state)),
        Route("/{token}/rate", _guarded(token, desk.rate), methods=["POST"]),
        Route("/{token}/undo", _guarded(token, desk.undo), methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)])


Endpoint = Callable[[Request], Awaitable[Response]]


def _guarded(token: str, endpoint: Endpoint) -> Endpoint:
    """The endpoint behind the token; 404 without it."""

    async def answer(request: Request) -> Response:
        if not hmac.compare_digest(str(request.path_params["token"]).encode(), token.encode()):
            return JSONResponse({"error": "not found"}, 404)
        response = await endpoint(request)
        response.headers.update(
            {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
        )
        return response

    return answer


class _Desk:
    """One rater's pairs, in the order of the file."""

    def __init__(self, pairs: Sequence[Pair], ratings: RatingFile) -> None:
        self._pairs, self._ratings = pairs, ratings
        self._page, policy = _rendered()
        self._headers = {"content-security-policy": policy}
        self._turn = asyncio.Lock()

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=self._headers)

    async def state(self, request: Request) -> Response:
        return JSONResponse(self._told())

    async def rate(self, request: Request) -> Response:
        try:
            asked = Rated.model_validate_json(await _body(request))
            async with self._turn:
                await asyncio.to_thread(self._ratings.rate, asked.pair, asked.choice)
        except ValidationError as error:
            return JSONResponse({"error": first_fault(error)}, 400)
        except RatersError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(self._told())

    async def undo(self, request: Request) -> Response:
        try:
            await _body(request)
            async with self._turn:
                await asyncio.to_thread(self._ratings.undo)
        except RatersError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(self._told())

    def _told(self) -> dict[str, Any]:
        """How far the rater is, and the first pair that is not rated."""
        done = self._ratings.done
        left = next((pair for pair in self._pairs if pair.id not in done), None)
        return {
            "rater": self._ratings.rater,
            "total": len(self._pairs),
            "rated": len(done),
            "pair": None if left is None else json.loads(left.model_dump_json()),
        }


async def _body(request: Request) -> bytes:
    """What was sent. Raises RatersError for another content type: a foreign site's form sends those without asking first."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RatersError("the body must be JSON")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise RatersError(f"the body has more than {MOST_BYTES} bytes")
    return body


def _rendered() -> tuple[str, str]:
    """The page, and the policy that goes with it."""
    style, script = _file("page.css"), _file("page.js")
    page = Template(_file("page.html")).substitute(style=style, script=script)
    allowed = f"style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; img-src data:"
    return page, f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return _HERE.with_name(name).read_text(encoding="utf-8")
