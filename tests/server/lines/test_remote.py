"""Lines answered over HTTP: this project's server behind a transport, and servers that fail in every way."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.asgi import ASGITransport
from tests.server.lines.files import line
from tests.server.services import MODEL
from trimtab.server.app import create_app
from trimtab.server.lines.errors import Outage
from trimtab.server.lines.remote import MAX_RETRIES, RemoteAnswerer
from trimtab.server.settings import Settings

MODELS = {"object": "list", "data": [{"id": "first"}, {"id": "second"}]}
GOOD = {"object": "chat.completion", "choices": [], "usage": {}}
Reply = httpx2.Response | Exception


class Replies:
    """A server that answers `/v1/models`, and requests from a list; its last reply from then on."""

    def __init__(self, *replies: Callable[[], Reply]) -> None:
        self.replies, self.asked, self.waits = list(replies), list[httpx2.Request](), list[float]()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json=MODELS)
        self.asked.append(request)
        reply = (self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def answerer(self, **options: Any) -> RemoteAnswerer:
        return RemoteAnswerer("http://h/v1/", transport=httpx2.MockTransport(self), wait=self.wait, **options)


def status(code: int, body: Any = None, **headers: str) -> Callable[[], Reply]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    shown = GOOD if code == 200 else {"error": {"message": "m", "type": "t", "param": None, "code": "c"}}
    return lambda: httpx2.Response(code, json=shown if body is None else body, headers=named)


async def test_a_line_is_posted_as_it_is_with_what_it_lacks() -> None:
    server = Replies(status(200, x_request_id="req-7"))
    async with server.answerer(api_key="k", alignment={"strategy": "norms"}) as answerer:
        answer = await answerer.answer(line(1, "a"))
    assert (answer.status, answer.request_id, answer.ok) == (200, "req-7", True)
    (request,) = server.asked
    assert str(request.url) == "http://h/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer k"
    assert b'"model":"first"' in request.content
    assert b'"alignment":{"strategy":"norms"}' in request.content


async def test_what_a_line_says_itself_wins() -> None:
    server = Replies(status(200))
    own = line(1, "a")
    own.body.update(model="second", alignment={"strategy": "plain"})
    async with server.answerer(alignment={"strategy": "norms"}) as answerer:
        await answerer.answer(own)
    assert b'"model":"second"' in server.asked[0].content
    assert b"norms" not in server.asked[0].content


@pytest.mark.parametrize(
    "failure", [status(408), status(409), status(429), status(500), status(503), lambda: httpx2.ConnectError("refused")]
)
async def test_what_may_pass_is_asked_again(failure: Callable[[], Reply]) -> None:
    server = Replies(failure, failure, status(200))
    async with server.answerer() as answerer:
        assert (await answerer.answer(line(1, "a"))).ok
    assert len(server.waits) == 2


async def test_the_server_says_how_long_to_wait() -> None:
    server = Replies(status(429, retry_after="7"), status(503, retry_after_ms="250"), status(200))
    async with server.answerer() as answerer:
        assert (await answerer.answer(line(1, "a"))).ok
    assert server.waits == [7.0, 0.25]


@pytest.mark.parametrize(
    "failure", [status(400), status(404), status(504, x_should_retry="false"), status(429, retry_after="121")]
)
async def test_what_does_not_pass_is_a_row_at_once(failure: Callable[[], Reply]) -> None:
    server = Replies(failure)
    async with server.answerer() as answerer:
        answer = await answerer.answer(line(1, "a"))
    assert answer.status in {400, 404, 429, 504}
    assert answer.body == {"error": {"message": "m", "type": "t", "param": None, "code": "c"}}
    assert not server.waits


async def test_repeats_end() -> None:
    server = Replies(status(503))
    async with server.answerer() as answerer:
        assert (await answerer.answer(line(1, "a"))).status == 503
    assert len(server.asked) == MAX_RETRIES + 1


async def test_no_connection_is_a_row_without_a_response() -> None:
    server = Replies(lambda: httpx2.ConnectError("refused"))
    async with server.answerer(max_retries=1) as answerer:
        row = (await answerer.answer(line(1, "a"))).row()
    assert row["response"] is None
    assert row["error"]["code"] == "no_connection"
    assert "refused" in row["error"]["message"]


async def test_an_answer_awaited_in_vain_is_not_asked_for_twice() -> None:
    server = Replies(lambda: httpx2.ReadTimeout("silence"))
    async with server.answerer() as answerer:
        answer = await answerer.answer(line(1, "a"))
    assert answer.error is not None
    assert answer.error["code"] == "timeout"
    assert len(server.asked) == 1


async def test_a_page_of_a_proxy_becomes_an_envelope_and_a_good_status_without_json_no_answer() -> None:
    server = Replies(lambda: httpx2.Response(404, text="<h1>gone</h1>"), lambda: httpx2.Response(200, text="hello"))
    async with server.answerer() as answerer:
        first, second = await answerer.answer(line(1, "a")), await answerer.answer(line(2, "b"))
    assert first.body == {
        "error": {"message": "<h1>gone</h1>", "type": "invalid_request_error", "param": None, "code": "upstream_error"}
    }
    assert (second.status, (second.error or {})["code"]) == (0, "invalid_answer")


async def test_a_server_that_is_not_there_or_refuses_the_key_is_told_on_entry() -> None:
    async def wait(seconds: float) -> None:
        pass

    def nobody(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    def stranger(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(401, json={"error": {"message": "The API key is not valid."}})

    for handler, told in ((nobody, "refused"), (stranger, "API key is not valid")):
        answerer = RemoteAnswerer("http://h", model="m", transport=httpx2.MockTransport(handler), wait=wait)
        with pytest.raises(Outage, match=told):
            async with answerer:
                pass


async def test_this_projects_server_answers() -> None:
    settings = Settings.model_validate({"models": {MODEL: {"engine": {"kind": "scripted"}}}})
    transport = ASGITransport(create_app(settings))
    async with RemoteAnswerer("http://test", alignment={"strategy": "value_prompt"}, transport=transport) as answerer:
        answers = await asyncio.gather(*(answerer.answer(line(number, f"r{number}")) for number in range(5)))
    assert all(answer.ok and answer.request_id for answer in answers)
    assert {str((answer.body or {})["alignment"]["strategy"]) for answer in answers} == {"['value_prompt']"}
