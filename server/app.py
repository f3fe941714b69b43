"""The application: settings become an ASGI app. Its lifespan starts and closes the engines.

Outermost first: identity (ids, times, log line, bugs) > measure > CORS > authentication > readiness > body limit > routes.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from trimtab.server.api import (
    batches,
    chat,
    check,
    completions,
    corpora,
    docs,
    embeddings,
    files,
    health,
    metrics,
    models,
    strategies,
    tokenize,
)
from trimtab.server.api.auth import Keyring
from trimtab.server.api.errors import error_object
from trimtab.server.api.limits import Gate
from trimtab.server.api.metrics import Metrics
from trimtab.server.api.respond import drained
from trimtab.server.api.responses import route as responses
from trimtab.server.api.unsupported import unknown_path
from trimtab.server.api.upload import FORM_BYTES
from trimtab.server.errors import ServerError
from trimtab.server.jobs.opened import ServedJobs
from trimtab.server.jobs.served import ServedBatches
from trimtab.server.logs import REQUEST_ID
from trimtab.server.middleware.authentication import Authentication
from trimtab.server.middleware.body_limit import BodyLimit, Bound
from trimtab.server.middleware.identity import Identity
from trimtab.server.middleware.measure import Measure
from trimtab.server.middleware.readiness import Readiness
from trimtab.server.middleware.reply import json_reply
from trimtab.server.service import Service
from trimtab.server.settings import Settings
from trimtab.strategies.core.errors import StrategyError
from trimtab.version import VERSION

logger = logging.getLogger(__name__)

Build = Callable[[], Service]

ROUTERS = (
    chat.router,
    completions.router,
    responses.router,
    embeddings.router,
    corpora.router,
    files.router,
    batches.router,
    models.router,
    tokenize.router,
    strategies.router,
    check.router,
    health.router,
    metrics.router,
    docs.router,
)


def create_app(
    settings: Settings, *, service: Service | None = None, build: Build | None = None, in_background: bool = False
) -> FastAPI:
    """The app of these settings.

    service: one that is not started yet; default what `build`, or else `trimtab.server.assembly.build`, makes of the settings.
    in_background: the lifespan does not wait for the engines; until they serve, /readyz and generating routes answer 503.
    Raises ConfigFileError where keys or policies contradict each other.
    """
    keyring = Keyring(settings.keys, settings.policies)
    gate = Gate.of(settings.limits, keyed=not keyring.is_open)
    counters = Metrics()
    app = FastAPI(
        title="Trimtab",
        version=VERSION,
        description="Inference-time alignment around any language model, behind an OpenAI endpoint.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=docs.ERRORS,
        middleware=_middleware(settings, keyring, gate, counters),
        lifespan=partial(_lifespan, build=(lambda: service) if service is not None else build, in_background=in_background),
    )
    app.state.settings, app.state.service = settings, service
    app.state.gate, app.state.metrics = gate, counters
    app.state.jobs = ServedJobs(settings.jobs, settings.data_root)
    app.state.batches = ServedBatches(settings, app.state.jobs, keyring, gate, counters)
    app.state.starting = app.state.failure = None
    app.openapi = partial(docs.describe, app)  # type: ignore[method-assign]
    for router in ROUTERS:
        app.include_router(router)
    for kind in (StrategyError, ServerError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _error_answer)
    return app


def _middleware(settings: Settings, keyring: Keyring, gate: Gate, counters: Metrics) -> list[Middleware]:
    http = settings.http
    uploads = Bound(settings.jobs.file_mib, "jobs.file_mib", FORM_BYTES)
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(http.cors_origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "x-alignment-status", "x-alignment-strategy", "x-alignment-calls"],
    )
    return [
        Middleware(Identity),
        Middleware(Measure, metrics=counters),
        *([cors] if http.cors_origins else []),
        Middleware(Authentication, keyring=keyring, metrics_public=http.metrics_public),
        Middleware(Readiness, admission=gate.admission),
        Middleware(BodyLimit, limit=Bound(settings.limits.body_mib, "limits.body_mib"), exceptions={"/v1/files": uploads}),
    ]


async def _error_answer(request: Request, error: Exception) -> Response:
    """An expected error in the envelope."""
    if isinstance(error, HTTPException) and error.status_code == 404:
        error = unknown_path(request.url.path)
    status, body, headers = error_object(error, request_id=REQUEST_ID.get())
    if status >= 500:
        logger.warning("%s: %s", type(error).__name__, error, exc_info=error if status == 500 else None)
    return json_reply(status, body, headers)


@asynccontextmanager
async def _lifespan(app: FastAPI, *, build: Build | None, in_background: bool) -> AsyncIterator[None]:
    """Start the service, let requests in; at the end drain and close it."""
    starting = app.state.starting = asyncio.create_task(_start(app, build), name="start engines")
    if not in_background:
        await starting
    try:
        yield
    finally:
        await _stop(app, starting)


async def _start(app: FastAPI, build: Build | None) -> None:
    """Build and start the service. What goes wrong is kept for /readyz and raised for who waits."""
    try:
        app.state.service = service = await _in_thread(build or partial(_assemble, app.state.settings))
        await service.start()
    except Exception as error:  # the border of the start: whatever it was, health tells and the waiter gets it
        app.state.failure = error
        raise
    app.state.metrics.add_engines(lambda: {name: engine.metrics() for name, engine in health.engines(service).items()})
    await app.state.batches.begin(service)
    app.state.gate.admission.open()


async def _stop(app: FastAPI, starting: "asyncio.Task[None]") -> None:
    app.state.gate.admission.drain()
    if not starting.done():
        starting.cancel()
    await asyncio.wait({starting})
    if not starting.cancelled() and starting.exception() is not None:
        logger.debug("the start had failed", exc_info=starting.exception())
    await app.state.batches.stop()
    await drained(app.state.gate, patience_s=0)
    if app.state.service is not None:
        await app.state.service.close()
    await app.state.jobs.close()


def _assemble(settings: Settings) -> Service:
    from trimtab.server.assembly import build

    return build(settings)


async def _in_thread(work: Build) -> Service:
    """The result of blocking work. The thread is a daemon: a download does not hold up a server that is told to stop."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Service] = loop.create_future()

    def settle(value: Service | None, error: Exception | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        elif value is not None:
            result.set_result(value)

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except Exception as raised:  # noqa: BLE001 - handed to the waiter
            error = raised
        _tell(loop, settle, value, error)

    threading.Thread(target=run, daemon=True, name="build service").start()
    return await result


def _tell(loop: asyncio.AbstractEventLoop, settle: Callable[..., None], *outcome: Any) -> None:
    """Call `settle` in the loop; a loop that has ended meanwhile is told nothing."""
    try:
        loop.call_soon_threadsafe(settle, *outcome)
    except RuntimeError:
        logger.debug("the server ended before its service was built")
