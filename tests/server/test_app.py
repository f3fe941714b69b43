"""The app's life: while engines start, when a start fails, when one is lost; identity and size of requests; documentation."""

import asyncio
import contextvars
import json
import logging
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from tests.asgi import ASGITransport
from tests.server.api.serving import scripted, serving
from tests.waiting import until
from trimtab.server.app import create_app
from trimtab.server.assembly import build
from trimtab.server.config_file import ConfigFileError
from trimtab.server.logs import REQUEST_ID, JsonFormatter, RequestIdFilter, TextFormatter, configure
from trimtab.server.service import Service
from trimtab.server.settings import HttpConfig, Settings

HELLO = {"model": "org/test-model", "messages": [{"role": "user", "content": "a very private question"}]}


@asynccontextmanager
async def starting(settings: Settings, gate: asyncio.Event) -> AsyncIterator[httpx2.AsyncClient]:
    """A server whose engines start when the event is set."""
    service = build(settings)
    begin = service.start

    class Slow(Service):
        async def start(self) -> None:
            await gate.wait()
            await begin()

    slow = Slow(service.settings, service.registry, service.roles, service.embedders)
    transport = ASGITransport(create_app(settings, service=slow, in_background=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_while_the_engines_start() -> None:
    gate = asyncio.Event()
    async with starting(scripted(), gate) as client:
        assert (await client.get("/livez")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "starting")
        assert int(ready.headers["retry-after"]) > 0
        asked = await client.post("/v1/chat/completions", json=HELLO)
        assert asked.status_code == 503
        assert asked.json()["error"]["code"] == "engine_unavailable"
        assert int(asked.headers["retry-after"]) > 0
        gate.set()

        async def ready_now() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await until(ready_now)
        assert (await client.post("/v1/chat/completions", json=HELLO)).status_code == 200


async def test_a_server_that_ends_while_it_starts() -> None:
    async with starting(scripted(), asyncio.Event()) as client:
        assert (await client.get("/readyz")).status_code == 503


async def test_a_failed_start_is_told_and_raised() -> None:
    def broken() -> Service:
        raise ConfigFileError("no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        async with ASGITransport(create_app(scripted(), build=broken)):
            pass
    app = create_app(scripted(), build=broken, in_background=True)
    async with httpx2.AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        await client.get("/livez")
        await asyncio.wait({app.state.starting})
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "failed")


async def test_a_lost_engine_turns_readiness_red() -> None:
    app = create_app(scripted())
    async with httpx2.AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/readyz")).json() == {"status": "ready", "engines": {"org/test-model": "ready"}}
        for engine in app.state.service.engines():
            await engine.close()
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
        assert (await client.get("/livez")).status_code == 200


@pytest.mark.parametrize(
    ("given", "echoed"), [("mine-1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("\x7f", False), ("", False)]
)
async def test_request_ids(given: str, echoed: bool) -> None:
    async with serving(scripted()) as server:
        answer = await server.http.get("/v1/models", headers={"x-request-id": given})
    got = answer.headers["x-request-id"]
    assert (got == given) is echoed
    assert echoed or re.fullmatch(r"req_[0-9a-f]{24}", got)
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert answer.headers["openai-version"] == "2020-10-01"


async def test_the_same_id_twice_disturbs_nobody() -> None:
    async with serving(scripted()) as server:
        answers = await asyncio.gather(
            *(server.http.post("/v1/chat/completions", json=HELLO, headers={"x-request-id": "same"}) for _ in range(4))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 4


async def test_a_bug_is_a_500_with_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(scripted())

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("a secret of the code")

    async with httpx2.AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/bug", headers={"x-request-id": "mine"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "mine" in answer.json()["error"]["message"]
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "mine"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/tokenize"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large(path: str, chunked: bool) -> None:
    async with serving(scripted(limits={"body_mib": 0.01})) as server:
        body = json.dumps({"model": "m", "input": "x" * 20_000}).encode()
        headers = {"content-type": "application/json", **({} if not chunked else {"transfer-encoding": "chunked"})}
        request = server.http.build_request("POST", path, content=body, headers=headers)
        answer = await server.http.send(request)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_logs_have_the_id_and_no_content(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(RequestIdFilter())
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="trimtab")
    async with serving(scripted("a very private answer")) as server:
        await server.http.post("/v1/chat/completions", json=HELLO, headers={"x-request-id": "mine"})
        await server.http.post("/v1/chat/completions", json={**HELLO, "stream": True, "n": 0})
    assert any(getattr(record, "request_id", "") == "mine" for record in caplog.records)
    assert "private" not in caplog.text


def test_log_lines() -> None:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "a %s", "args": ("b",), "key": "app"})
    RequestIdFilter().filter(record)
    line = json.loads(JsonFormatter().format(record))
    assert {"level": "info", "logger": "n", "message": "a b", "request_id": "-", "key": "app"}.items() <= line.items()
    assert TextFormatter().format(record).endswith("INFO    n [-] a b")


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_the_words_of_errors_inside_a_request_stay_out_of_the_log(formatter: type[TextFormatter | JsonFormatter]) -> None:
    words = " ".join(("a", "private", "prompt"))

    def logged(*, content: bool) -> str:
        try:
            try:
                raise KeyError(words)
            except KeyError as cause:
                raise ValueError(words) from cause
        except ValueError:
            record = logging.LogRecord("n", logging.ERROR, "p", 1, "failed", (), sys.exc_info())
        RequestIdFilter().filter(record)
        return formatter(content=content).format(record)

    context = contextvars.copy_context()
    context.run(REQUEST_ID.set, "mine")
    hidden = context.run(logged, content=False)
    assert words not in hidden
    assert "ValueError" in hidden
    assert "because of KeyError" in hidden
    assert "test_app.py" in hidden
    assert f"ValueError: {words}" in context.run(logged, content=True)
    assert f"ValueError: {words}" in logged(content=False)


async def test_content_is_logged_where_that_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    handlers, level = logging.root.handlers[:], logging.root.level
    configure(HttpConfig(log_content=True))
    logging.root.handlers[:] = handlers
    try:
        async with serving(scripted("a very private answer")) as server:
            await server.http.post("/v1/chat/completions", json=HELLO)
            await server.http.post("/v1/chat/completions", json={**HELLO, "stream": True})
    finally:
        configure(HttpConfig())
        logging.root.handlers[:], logging.root.level = handlers, level
    assert "asked" in caplog.text
    assert "a very private answer" in caplog.text
    assert '"content":" private"' in caplog.text


async def test_metrics_name_templates_and_not_paths() -> None:
    async with serving(scripted()) as server:
        for path in ("/v1/models/org/test-model", "/v1/secret-path", "/livez"):
            await server.http.get(path)
        await server.http.post("/v1/chat/completions", json=HELLO, headers={"x-stainless-retry-count": "1"})
        text = (await server.http.get("/metrics")).text
    assert 'trimtab_http_requests_total{method="GET",retried="false",route="/v1/models/{model}",status="200"} 1.0' in text or (
        'route="/v1/models/{model:path}",status="200"} 1.0' in text
    )
    assert 'retried="true",route="/v1/chat/completions",status="200"} 1.0' in text
    assert "secret-path" not in text
    assert 'trimtab_completion_tokens_total{model="org/test-model"}' in text
    assert "trimtab_http_requests_in_flight 1.0" in text


async def test_the_openapi_document() -> None:
    async with serving(scripted(keys=[{"name": "a", "key": "a"}]), key="a") as server:
        document = (await server.http.get("/openapi.json")).json()
        page = await server.http.get("/docs")
    schemas = document["components"]["schemas"]
    chat = document["paths"]["/v1/chat/completions"]["post"]
    body = chat["requestBody"]["content"]["application/json"]["schema"]
    assert {"messages", "tools", "alignment", "max_completion_tokens"} <= set(body["properties"])
    assert set(chat["responses"]) == {"200", "4XX", "5XX"}
    assert chat["security"] == [{"bearer": []}]
    assert document["paths"]["/livez"]["get"]["security"] == []
    assert set(schemas["ErrorObject"]["required"]) == {"message", "type", "param", "code"}
    missing = {name for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)) if name not in schemas}
    assert missing == set()
    assert "https://" not in page.text
    assert "http://" not in page.text


async def test_browsers_may_call_only_from_named_origins() -> None:
    headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
    async with serving(scripted(http={"cors_origins": ["https://app.example"]}, keys=[{"name": "a", "key": "a"}])) as server:
        answer = await server.http.options("/v1/chat/completions", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
    async with serving(scripted()) as server:
        answer = await server.http.options("/v1/chat/completions", headers=headers)
        assert "access-control-allow-origin" not in answer.headers
