"""How a generating route answers: limits around the work, JSON or events out, the work cut short when the client goes.

Everything of a request, from its turn in the queue to the last byte, runs in one task, so that strategies may keep task
groups and timeouts open across the events of a stream.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from trimtab.server.api.interrupt import ClientGone, Interrupt
from trimtab.server.api.limits import Gate
from trimtab.server.api.metrics import Metrics
from trimtab.server.api.sse import DONE, EventWriter, Frame, data_frame
from trimtab.server.exchange import Answer, Inbound, Principal, StreamAnswer
from trimtab.server.logs import REQUEST_ID, STARTED_AT, log_content
from trimtab.server.wire import new_id

logger = logging.getLogger(__name__)

ABORT_S = 5.0
"""How long an aborted request may take to end."""

Work = Callable[[], Awaitable[Answer | StreamAnswer]]


def inbound(request: Request, body: Mapping[str, Any], principal: Principal) -> Inbound:
    """The service's view of a request; its engine id is fresh, whatever `x-request-id` the client sent."""
    log_content("asked", body)
    return Inbound(
        request_id=new_id("req"),
        body=body,
        principal=principal,
        header_strategy=request.headers.get("x-alignment-strategy"),
    )


def respond(
    request: Request,
    principal: Principal,
    work: Work,
    *,
    frame: Frame = data_frame,
    done: bytes = DONE,
    unknown: Sequence[str] = (),
) -> Response:
    """The response of a generating route: return it from the route.

    `work` is called once the request has its turn. Its errors become HTTP errors, or an error event once a stream has begun.
    unknown: fields of the body that nobody knows, told in the header `x-alignment-warnings`.
    """
    return _Generated(request, principal, work, frame, done, _warnings(unknown))


def _warnings(unknown: Sequence[str]) -> dict[str, str]:
    """The header that tells unknown fields, at most ten of them."""
    if not unknown:
        return {}
    shown = ", ".join(name[:60].encode("unicode_escape").decode() for name in unknown[:10])
    return {"x-alignment-warnings": f"unknown fields: {shown}{', ...' if len(unknown) > 10 else ''}"}


class _Generated(Response):
    """Does the work when the server sends it."""

    def __init__(
        self, request: Request, principal: Principal, work: Work, frame: Frame, done: bytes, headers: Mapping[str, str]
    ) -> None:
        super().__init__()
        self._state = request.app.state
        self._principal = principal
        self._work = work
        self._frame = frame
        self._done = done
        self._extra = headers
        self._writer: EventWriter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the work and send its answer."""
        gate: Gate = self._state.gate
        try:
            async with Interrupt(receive) as interrupt, gate.turn(self._principal.name) as rates:
                limits = {**rates, **self._extra}
                with gate.admission.interruptible(interrupt.fire):
                    outcome = await self._work()
                    if isinstance(outcome, Answer):
                        await self._send_answer(outcome, limits, scope, receive, send)
                    else:
                        await self._send_events(outcome, limits, interrupt, send)
        except Exception as error:  # the request's border: a stream that has begun ends with an error event
            if isinstance(error, ClientGone):
                self._metrics.aborted("ClientGone")
                logger.info("the client has gone; its answer was aborted")
            if self._writer is None or not self._writer.started:
                raise
            if not isinstance(error, ClientGone):
                await self._end_with(error, self._writer)

    async def _send_answer(self, answer: Answer, limits: Mapping[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.answered(answer.body)
        log_content("answered", answer.body)
        body = to_json(answer.body, inf_nan_mode="null")
        response = Response(body, headers={**limits, **answer.headers}, media_type="application/json")
        await response(scope, receive, send)

    async def _send_events(self, stream: StreamAnswer, limits: Mapping[str, str], interrupt: Interrupt, send: Send) -> None:
        writer = self._writer = EventWriter(
            send,
            lambda: {**limits, **stream.headers},
            keep_alive_s=stream.keep_alive_s,
            on_gone=interrupt.fire,
            frame=self._frame,
            done=self._done,
            request_id=REQUEST_ID.get(),
        )
        writer.watch()
        try:
            async with aclosing(stream.events) as events:
                async for event in events:
                    if not writer.last:
                        self._metrics.first_event(time.perf_counter() - STARTED_AT.get())
                    log_content("answered", event)
                    await writer.event(event)
        finally:
            writer.close()
        self._count(writer.last)
        await writer.end()

    async def _end_with(self, error: Exception, writer: EventWriter) -> None:
        self._metrics.aborted(type(error).__name__)
        logger.warning("a stream ended with an error: %s: %s", type(error).__name__, error)
        await writer.error(error)
        await writer.end()

    def _count(self, last: str) -> None:
        """Count tokens and alignment from the last event of a stream, where it tells them."""
        if '"usage"' in last or '"alignment"' in last:
            read = json.loads(last)
            self._metrics.answered(read.get("response", read))

    @property
    def _metrics(self) -> Metrics:
        metrics: Metrics = self._state.metrics
        return metrics


async def within_limits(request: Request, principal: Principal, work: Callable[[], Awaitable[Any]]) -> Any:
    """The result of short work (embeddings, scores) under the same limits, cancelled when the client goes."""
    gate: Gate = request.app.state.gate
    async with Interrupt(request.receive) as interrupt, gate.turn(principal.name):
        with gate.admission.interruptible(interrupt.fire):
            return await work()


async def drained(gate: Gate, patience_s: float) -> None:
    """Refuse new requests, let running ones go on for `patience_s`, then end them. Returns when none is left."""
    admission = gate.admission
    admission.drain()
    idle = asyncio.ensure_future(admission.idle())
    await asyncio.wait({idle}, timeout=patience_s)
    if not idle.done() and admission.running:
        logger.warning("%d requests were still running after %g s; they are aborted", admission.running, patience_s)
        admission.interrupt_all()
        await asyncio.wait({idle}, timeout=ABORT_S)
    idle.cancel()
