"""How generating routes answer: events, keep-alives, errors before and after the first byte, clients that leave."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request, Response

from tests.asgi import ASGITransport
from tests.server.api.serving import scripted, serving
from tests.waiting import until
from trimtab.server.api.errors import error_object
from trimtab.server.api.interrupt import run_cancellable
from trimtab.server.api.limits import Gate
from trimtab.server.api.metrics import Metrics
from trimtab.server.api.respond import Work, drained, respond, within_limits
from trimtab.server.exchange import Answer, Principal, StreamAnswer
from trimtab.server.middleware.reply import json_reply
from trimtab.server.settings import Limits, Settings
from trimtab.strategies.core.errors import DeadlineExceeded, StrategyError


class Stage:
    """An app with one generating route whose work the test decides."""

    def __init__(self, **limits: Any) -> None:
        self.work: Work
        self.closed = asyncio.Event()
        self.app = FastAPI()
        self.app.state.settings = Settings()
        self.app.state.gate = self.gate = Gate.of(Limits.model_validate(limits), keyed=True)
        self.app.state.metrics = self.metrics = Metrics()
        self.gate.admission.open()
        self.app.add_exception_handler(StrategyError, self._error)
        self.app.add_api_route("/go", self._go)
        self.app.add_api_route("/short", self._short)

    async def _go(self, request: Request) -> Response:
        return respond(request, Principal("a"), self.work)

    async def _short(self, request: Request) -> Response:
        await run_cancellable(request, within_limits(request, Principal("a"), self.work))
        return Response()

    async def _error(self, request: Request, error: Exception) -> Response:
        return json_reply(*error_object(error))

    def streams(self, *events: str | float | Exception, keep_alive_s: float = 0) -> None:
        """Let the work be a stream: texts are events, numbers pauses in seconds, exceptions are raised."""

        async def play() -> AsyncGenerator[str, None]:
            try:
                for event in events:
                    if isinstance(event, Exception):
                        raise event
                    if isinstance(event, str):
                        yield event
                    else:
                        await asyncio.sleep(event)
            finally:
                self.closed.set()

        async def work() -> StreamAnswer:
            return StreamAnswer(play(), {"x-alignment-strategy": "s"}, keep_alive_s)

        self.work = work

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx2.AsyncClient]:
        async with httpx2.AsyncClient(transport=ASGITransport(self.app), base_url="http://test") as client:
            yield client


async def test_a_stream_on_the_wire() -> None:
    stage = Stage()
    stage.streams('{"a":1}', '{"b":2}')
    async with stage.client() as client:
        answer = await client.get("/go")
    assert answer.text == 'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n'
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-alignment-strategy"] == "s"
    assert stage.gate.admission.running == 0


async def test_events_leave_one_by_one() -> None:
    stage = Stage()
    stage.streams("1", 30.0, "2")
    async with stage.client() as client, client.stream("GET", "/go") as answer:
        assert await anext(answer.aiter_bytes()) == b"data: 1\n\n"
    await asyncio.wait_for(stage.closed.wait(), 2)


async def test_an_error_before_the_first_event_is_an_http_error() -> None:
    stage = Stage()
    stage.streams(DeadlineExceeded("too late"), keep_alive_s=5)
    async with stage.client() as client:
        answer = await client.get("/go")
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "alignment_deadline"


async def test_an_error_after_it_is_an_event() -> None:
    stage = Stage()
    stage.streams("1", DeadlineExceeded("too late"))
    async with stage.client() as client:
        answer = await client.get("/go")
    assert answer.status_code == 200
    first, error, done = answer.text.strip().split("\n\n")
    assert (first, done) == ("data: 1", "data: [DONE]")
    assert error.startswith('data: {"error":')
    assert '"alignment_deadline"' in error


async def test_silence_is_filled_with_comments_and_commits_to_200() -> None:
    stage = Stage()
    stage.streams(0.35, "1", 0.35, DeadlineExceeded("too late"), keep_alive_s=0.1)
    async with stage.client() as client:
        answer = await client.get("/go")
    assert answer.status_code == 200
    before, _, after = answer.text.partition("data: 1\n\n")
    assert before.count(": keep-alive\n\n") in {2, 3}
    assert ": keep-alive\n\n" in after
    assert after.endswith("data: [DONE]\n\n")


async def test_no_comment_where_none_was_asked_for() -> None:
    stage = Stage()
    stage.streams(0.2, DeadlineExceeded("too late"), keep_alive_s=0)
    async with stage.client() as client:
        assert (await client.get("/go")).status_code == 504


@pytest.mark.parametrize("events", [(30.0,), ("1", 30.0)], ids=["before the first event", "after it"])
async def test_a_client_that_leaves_ends_the_work(events: tuple[str | float, ...]) -> None:
    stage = Stage(concurrency=1)
    stage.streams(*events)
    async with stage.client() as client:
        asking = asyncio.create_task(client.get("/go"))
        await until(lambda: stage.gate.admission.running > 0)
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait_for(stage.closed.wait(), 2)
        await asyncio.wait_for(stage.gate.admission.idle(), 2)


@pytest.mark.parametrize("path", ["/go", "/short"])
async def test_a_client_that_leaves_ends_work_that_is_not_streamed(path: str) -> None:
    stage = Stage()
    ended = asyncio.Event()

    async def work() -> Answer:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return Answer({})

    stage.work = work
    async with stage.client() as client:
        asking = asyncio.create_task(client.get(path))
        await until(lambda: stage.gate.admission.running > 0)
        asking.cancel()
        await asyncio.wait_for(ended.wait(), 2)
        await asyncio.wait_for(stage.gate.admission.idle(), 2)


async def test_a_client_that_leaves_the_queue_frees_its_place() -> None:
    stage = Stage(concurrency=1)
    stage.streams(30.0)
    async with stage.client() as client:
        first, second = asyncio.create_task(client.get("/go")), asyncio.create_task(client.get("/go"))
        await until(lambda: stage.gate.admission.waiting > 0)
        second.cancel()
        await until(lambda: stage.gate.admission.waiting == 0)
        first.cancel()
        await asyncio.wait_for(stage.gate.admission.idle(), 2)


async def test_everything_of_a_stream_runs_in_one_task() -> None:
    stage = Stage()
    tasks = []

    async def play() -> AsyncGenerator[str, None]:
        async with asyncio.timeout(5), asyncio.TaskGroup():
            for name in "123":
                tasks.append(asyncio.current_task())
                yield name
                await asyncio.sleep(0.01)

    async def work() -> StreamAnswer:
        tasks.append(asyncio.current_task())
        return StreamAnswer(play(), {}, 0.01)

    stage.work = work
    async with stage.client() as client:
        await client.get("/go")
    assert len(tasks) == 4
    assert len(set(tasks)) == 1


async def test_draining_waits_then_aborts() -> None:
    stage = Stage()
    stage.streams("1", 30.0)
    async with stage.client() as client:
        asking = asyncio.create_task(client.get("/go"))
        await until(lambda: stage.gate.admission.running > 0)
        await asyncio.sleep(0.05)
        await drained(stage.gate, 0.05)
        assert stage.gate.admission.running == 0
        text = (await asking).text
    assert "shutting down" in text
    assert text.endswith("data: [DONE]\n\n")


async def test_draining_lets_short_work_end() -> None:
    stage = Stage()
    stage.streams(0.2, "1")
    async with stage.client() as client:
        asking = asyncio.create_task(client.get("/go"))
        await until(lambda: stage.gate.admission.running > 0)
        await drained(stage.gate, 10)
        assert (await asking).text == "data: 1\n\ndata: [DONE]\n\n"


async def test_tokens_of_streams_and_answers_are_counted() -> None:
    stage = Stage()
    aligned = '{"status":"applied","strategy":["t","s","t"]}'
    counts = f'{{"model":"m","usage":{{"prompt_tokens":3,"completion_tokens":4}},"alignment":{aligned}}}'
    stage.streams("{}", counts)

    def read(name: str, **labels: str) -> float | None:
        return stage.metrics.registry.get_sample_value(name, labels)

    async with stage.client() as client:
        await client.get("/go")
    assert read("trimtab_completion_tokens_total", model="m") == 4
    assert read("trimtab_alignment_total", strategy="s+t", status="applied") == 1
    assert read("trimtab_time_to_first_event_seconds_count") == 1


async def test_unknown_fields_are_told() -> None:
    body = {"model": "org/test-model", "messages": [{"role": "user", "content": "hi"}]}
    async with serving(scripted()) as server:
        plain = await server.http.post("/v1/chat/completions", json={**body, "temperature": 0})
        told = await server.http.post("/v1/chat/completions", json={**body, "guided": 1, "naïve\n": 2})
        raw = await server.http.post("/v1/completions", json={"model": "org/test-model", "prompt": "a", "stream": True, "x": 1})
    assert "x-alignment-warnings" not in plain.headers
    assert told.headers["x-alignment-warnings"] == "unknown fields: guided, na\\xefve\\n"
    assert raw.headers["x-alignment-warnings"] == "unknown fields: x"
