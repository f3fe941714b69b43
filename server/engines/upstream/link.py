"""The connection to the upstream: sends JSON, repeats what may be repeated, turns every failure into an error of this project.

A request is repeated only until its answer has begun. Nothing but the configured base URL is ever contacted; redirects are
not followed. Leaving a stream closes its connection, which is how the upstream learns that nobody listens.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2

from trimtab.server.engines.upstream import faults
from trimtab.server.engines.upstream.flights import Flight, Flights
from trimtab.server.engines.upstream.retry import LONGEST_WAIT_S, is_retryable, wait_s
from trimtab.server.engines.upstream.sse import EventDecoder, EventTooLong
from trimtab.server.settings import UpstreamConfig
from trimtab.strategies.core.errors import EngineError, UpstreamError

logger = logging.getLogger(__name__)

LOST = (httpx2.TransportError, anyio.EndOfStream, OSError)
"""What a transport raises when there is no answer, or no more of it."""


class Link:
    """One upstream. `reachable` and `reason` say how the last contact went."""

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.config = config
        self.flights = Flights()
        self.reachable = True
        self.reason = ""
        self.lost = asyncio.Event()
        self.requests = 0
        self.retries = 0
        self._wait = wait
        self._rng = random.Random()
        self._client = httpx2.AsyncClient(
            transport=transport,
            headers=headers_of(config),
            timeout=timeout_of(config),
            limits=httpx2.Limits(max_connections=config.max_connections, max_keepalive_connections=config.max_connections),
            follow_redirects=False,
        )

    @property
    def base(self) -> str:
        """The base URL with its `/v1`, without a slash at its end."""
        return self.config.url.rstrip("/")

    @property
    def root(self) -> str:
        """The base URL without its `/v1`, where a vLLM server keeps `/tokenize` and `/version`."""
        return self.base.removesuffix("/v1")

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def get(self, url: str, *, retries: int | None = None) -> Any:
        """The JSON of a GET; raises as `post` does. retries: None = as configured."""
        async with self._opened(self._client.build_request("GET", url), Flight(), retries) as response:
            return parsed(await self._read(response))

    async def post(self, url: str, body: Mapping[str, Any], request_id: str) -> Any:
        """The JSON of a whole answer. Raises UpstreamError, UpstreamTimeout or EngineUnavailable."""
        with self.flights.begin(request_id) as flight:
            async with self._opened(self._request(url, body), flight) as response, flight.step():
                return parsed(await self._read(response))

    async def events(self, url: str, body: Mapping[str, Any], request_id: str) -> AsyncGenerator[str, None]:
        """The data of each event of a streamed answer, `[DONE]` included where it comes.

        Raises as `post` does before the first event, StreamCut or UpstreamTimeout later.
        """
        with self.flights.begin(request_id) as flight:
            async with self._opened(self._request(url, body), flight) as response:
                await self._check_stream(response)
                decoder, chunks = EventDecoder(), response.aiter_bytes()
                while (chunk := await self._next(chunks, flight)) is not None:
                    for event in self._decoded(decoder, chunk):
                        yield event
                for event in decoder.end():
                    yield event

    def _request(self, url: str, body: Mapping[str, Any]) -> httpx2.Request:
        return self._client.build_request("POST", url, json=dict(body))

    @asynccontextmanager
    async def _opened(
        self, request: httpx2.Request, flight: Flight, retries: int | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """An answer with a good status; its connection is closed, or reused when it was read to its end."""
        async with flight.step():
            response = await self._answered(request, self.config.max_retries if retries is None else retries)
        try:
            yield response
        finally:
            await response.aclose()

    async def _answered(self, request: httpx2.Request, retries: int) -> httpx2.Response:
        """The first good answer within the allowed attempts."""
        waited, attempt = 0.0, 0
        while True:
            attempt += 1
            outcome, pause = await self._attempt(request, attempt)
            if isinstance(outcome, httpx2.Response):
                return outcome
            if pause is None or attempt > retries or waited + pause > LONGEST_WAIT_S:
                raise outcome
            waited += pause
            self.retries += 1
            logger.warning("attempt %d failed, the next follows in %.1f s: %s", attempt, pause, type(outcome).__name__)
            await self._wait(pause)

    async def _attempt(self, request: httpx2.Request, attempt: int) -> tuple[httpx2.Response | EngineError, float | None]:
        """A good answer; or an error, with the seconds after which the request may be repeated (None = never)."""
        self.requests += 1
        try:
            response = await self._client.send(request, stream=True)
        except LOST as error:
            failure = faults.from_transport(error, self.base)
            silent = isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout | httpx2.PoolTimeout)
            self._heard(silent, "" if silent else str(failure))
            return failure, None if silent else wait_s(attempt, {}, self._rng)
        self._heard(True)
        if response.is_success:
            return response, None
        raw = await self._error_body(response)
        pause = wait_s(attempt, response.headers, self._rng) if is_retryable(response.status_code, response.headers) else None
        return faults.from_status(response.status_code, raw, response.headers), pause

    async def _error_body(self, response: httpx2.Response) -> bytes:
        try:
            return await response.aread()
        except LOST:
            return b""
        finally:
            await response.aclose()

    async def _read(self, response: httpx2.Response) -> bytes:
        try:
            return await response.aread()
        except httpx2.TimeoutException as error:
            raise faults.from_transport(error, self.base) from error
        except LOST as error:
            raise UpstreamError(f"the upstream's answer was cut ({type(error).__name__})", status=502) from error

    async def _next(self, chunks: AsyncIterator[bytes], flight: Flight) -> bytes | None:
        try:
            async with flight.step():
                return await anext(chunks, None)
        except httpx2.TimeoutException as error:
            raise faults.from_transport(error, self.base) from error
        except LOST as error:
            raise faults.StreamCut(type(error).__name__) from error

    def _decoded(self, decoder: EventDecoder, chunk: bytes) -> list[str]:
        try:
            return decoder.feed(chunk)
        except EventTooLong as error:
            raise UpstreamError(str(error), status=502) from error

    async def _check_stream(self, response: httpx2.Response) -> None:
        """Refuse an answer that is no stream of events; some servers report an error that way, under status 200."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            body = parsed(await self._read(response))
            raise UpstreamError(
                f"the upstream answered a streamed request with one {body.get('object', 'object')!r}", status=502
            )

    def _heard(self, reachable: bool, reason: str = "") -> None:
        self.reachable, self.reason = reachable, reason
        if reachable:
            self.lost.clear()
        else:
            self.lost.set()


def headers_of(config: UpstreamConfig) -> dict[str, str]:
    """Headers of every request: the configured key and nothing of a client."""
    key = {"authorization": f"Bearer {config.api_key.get_secret_value()}"} if config.api_key is not None else {}
    return {"user-agent": "trimtab", **key}


def timeout_of(config: UpstreamConfig) -> httpx2.Timeout:
    """How long to wait for a connection, and for the next bytes."""
    return httpx2.Timeout(config.timeout_s, connect=config.connect_timeout_s)


def parsed(raw: bytes) -> Any:
    """A JSON object. Raises UpstreamError where it is none, or an error under a good status."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise UpstreamError("the upstream's answer is not JSON", status=502) from error
    if not isinstance(body, dict):
        raise UpstreamError("the upstream's answer is not a JSON object", status=502)
    if body.get("error") and "choices" not in body:
        raise faults.from_event(body["error"])
    return body
