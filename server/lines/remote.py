"""Lines answered by a server, this project's or any other that speaks OpenAI's protocol."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx2
import jiter

from trimtab.server.engines.upstream.retry import LONGEST_WAIT_S, is_retryable, wait_s
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.errors import Outage
from trimtab.server.lines.request import RequestLine
from trimtab.server.wire import Endpoint

TIMEOUT_S = 600.0
"""Longest silence while an answer is awaited."""
CONNECT_TIMEOUT_S = 5.0
MAX_RETRIES = 8
"""Repeats of a request: about half a minute without a connection, more where the server asks for it."""
ENTRY_RETRIES = 2
"""The same before the first line, when somebody is likely to look on."""
LONGEST_MESSAGE = 1000
"""Characters of an answer that is no JSON which are repeated."""

CONCURRENCY = 64
"""Requests in work at once: a server's `limits.concurrency_per_key` unless it is told otherwise."""
EMBEDDINGS: Endpoint = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class AtServer:
    """`trimtab.server.lines.offline.Place`: a server somewhere."""

    url: str
    """With or without `/v1`."""
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    """Of lines that name none; None = the first of the server."""
    alignment: Mapping[str, Any] | None = None
    """Of lines that have none."""
    concurrency: int = CONCURRENCY

    def open(self) -> "RemoteAnswerer":
        """What answers lines inside the block."""
        return RemoteAnswerer(
            self.url, api_key=self.api_key, model=self.model, alignment=self.alignment, connections=self.concurrency
        )


class NoAnswer(Exception):
    """There was no connection, or an answer that is none."""

    def __init__(self, code: str, message: str, pause: float | None) -> None:
        super().__init__(message)
        self.code = code
        self.pause = pause
        """Seconds after which the request may be sent again; None = never."""


class RemoteAnswerer:
    """`Answerer` over HTTP, with a pool of connections; a context that ends with them.

    Repeats a request after connection errors, 408, 409, 429 and 5xx, as `retry-after` and `x-should-retry` say; an answer that
    was awaited in vain is not asked for twice, because it may be the server's work still.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        alignment: Mapping[str, Any] | None = None,
        connections: int = CONCURRENCY,
        max_retries: int = MAX_RETRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """url: with or without `/v1`. model: of lines that name none; None = the first of the server, looked up on entry.

        alignment: the `alignment` object of lines that have none; the server must know it.
        """
        self._model = model
        self._alignment = alignment
        self._max_retries = max_retries
        self._wait = wait
        self._rng = random.Random()
        self._http = httpx2.AsyncClient(
            base_url=url.rstrip("/").removesuffix("/v1"),
            headers={"user-agent": "trimtab", **({"authorization": f"Bearer {api_key}"} if api_key else {})},
            timeout=httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None),
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        """Itself, once the server has answered. Raises Outage where it cannot be reached or refuses the key."""
        try:
            self._model = await self._known_model(self._model)
        except BaseException:
            await self._http.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def answer(self, line: RequestLine) -> LineAnswer:
        """The answer to a line: whatever the server last said, or `no_connection`."""
        begin = time.monotonic()
        try:
            response = await self._asked("POST", line.url, self._body(line), self._max_retries)
            body = _object(response)
        except NoAnswer as error:
            told = {"code": error.code, "message": str(error)}
            return LineAnswer(line.number, line.custom_id, 0, None, error=told, ms=(time.monotonic() - begin) * 1000)
        status, request_id = response.status_code, response.headers.get("x-request-id", "")
        return LineAnswer(line.number, line.custom_id, status, body, request_id, ms=(time.monotonic() - begin) * 1000)

    async def _known_model(self, given: str | None) -> str:
        """The model of lines that name none."""
        try:
            response = await self._asked("GET", "/v1/models", None, ENTRY_RETRIES)
            if response.status_code in {401, 403} or (given is None and response.status_code != 200):
                raise Outage(f"{self._http.base_url} answered {response.status_code}: {_message(response)}")
            return given or str(_object(response)["data"][0]["id"])
        except (NoAnswer, KeyError, IndexError, TypeError) as error:
            raise Outage(f"{self._http.base_url} does not tell what it serves: {error}") from None

    def _body(self, line: RequestLine) -> Mapping[str, Any]:
        defaults: dict[str, Any] = {}
        if line.url != EMBEDDINGS:
            defaults = {"model": self._model, **({"alignment": dict(self._alignment)} if self._alignment is not None else {})}
        return {**defaults, **line.body}

    async def _asked(self, method: str, path: str, body: Mapping[str, Any] | None, retries: int) -> httpx2.Response:
        """The first answer that stands within the allowed repeats, else the last. Raises NoAnswer."""
        waited, attempt = 0.0, 0
        while True:
            attempt += 1
            outcome = await self._attempt(method, path, body, attempt)
            pause = outcome.pause if isinstance(outcome, NoAnswer) else self._pause(outcome, attempt)
            if pause is None or attempt > retries or waited + pause > LONGEST_WAIT_S:
                break
            waited += pause
            await self._wait(pause)
        if isinstance(outcome, NoAnswer):
            raise outcome
        return outcome

    async def _attempt(
        self, method: str, path: str, body: Mapping[str, Any] | None, attempt: int
    ) -> httpx2.Response | NoAnswer:
        try:
            return await self._http.request(method, path, json=body)
        except (httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
            return NoAnswer("timeout", f"no answer within {TIMEOUT_S:.0f} s ({type(error).__name__})", None)
        except (httpx2.HTTPError, OSError) as error:
            reason = f"{self._http.base_url}: {type(error).__name__}: {error}"[:LONGEST_MESSAGE]
            return NoAnswer("no_connection", reason, wait_s(attempt, {}, self._rng))

    def _pause(self, response: httpx2.Response, attempt: int) -> float | None:
        """Seconds before the request is sent again; None where the answer stands."""
        status, headers = response.status_code, response.headers
        conflict = status == 409 and headers.get("x-should-retry", "").strip().lower() != "false"
        return wait_s(attempt, headers, self._rng) if conflict or is_retryable(status, headers) else None


def _object(response: httpx2.Response) -> dict[str, Any]:
    """The JSON of an answer; the envelope of an error that comes without one. Raises NoAnswer."""
    try:
        body = jiter.from_json(response.content, allow_inf_nan=False)
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    if response.is_success:
        raise NoAnswer("invalid_answer", f"{response.url} answered no JSON object: {response.text[:LONGEST_MESSAGE]}", None)
    kind = "server_error" if response.status_code >= 500 else "invalid_request_error"
    message = response.text[:LONGEST_MESSAGE] or response.reason_phrase
    return {"error": {"message": message, "type": kind, "param": None, "code": "upstream_error"}}


def _message(response: httpx2.Response) -> str:
    error = _object(response).get("error")
    return str(error.get("message") if isinstance(error, Mapping) else error)
