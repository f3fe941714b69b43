"""The clients in front of the real app with the scripted engine: defaults, alignment, helpers, errors."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

from tests.asgi import ASGITransport, SyncASGITransport
from trimtab import AsyncOpenAI, OpenAI
from trimtab.server.app import create_app
from trimtab.server.settings import ModelConfig, ScriptedConfig, Settings

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]
URL = "http://test/v1"


def app_of(tmp_path: Path, *answers: str, tokens_per_s: float | None = None) -> Any:
    engine = ScriptedConfig(answers=answers, tokens_per_s=tokens_per_s)
    return create_app(Settings(models={"m": ModelConfig(engine=engine)}, data_dir=tmp_path))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[OpenAI]:
    transport = SyncASGITransport(app_of(tmp_path))
    with OpenAI(base_url=URL, model="m", http_client=httpx2.Client(transport=transport)) as client:
        yield client


@pytest.fixture
async def aclient(tmp_path: Path) -> AsyncIterator[AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=ASGITransport(app_of(tmp_path)))
    async with AsyncOpenAI(base_url=URL, model="m", alignment=[{"kind": "value_prompt"}], http_client=http) as client:
        yield client


def test_a_plain_answer_carries_no_alignment(client: OpenAI) -> None:
    answer = client.chat.completions.create(messages=MESSAGES)
    assert answer.choices[0].message.content
    assert isinstance(answer, openai.types.chat.ChatCompletion)
    assert answer.alignment is None
    assert "alignment" not in answer.to_dict()


@pytest.mark.parametrize(
    "alignment", ["value_prompt", ["value_prompt"], {"kind": "value_prompt"}, {"strategy": "value_prompt"}]
)
def test_every_form_of_the_argument(client: OpenAI, alignment: Any) -> None:
    answer = client.chat.completions.create(messages=MESSAGES, alignment=alignment)
    assert answer.alignment is not None
    assert answer.alignment.status == "applied"
    assert answer.alignment.steps[0].strategy == "value_prompt"
    assert answer.alignment.usage is not None
    assert answer.alignment.usage.calls == 1
    assert answer.to_dict()["alignment"]["trace_id"] == answer.alignment.trace_id


async def test_the_clients_default_holds_for_every_route_and_a_requests_own_wins(aclient: AsyncOpenAI) -> None:
    chat = aclient.chat.completions
    plain: Any = {"alignment": {"strategy": "plain"}}
    copy = aclient.with_options(max_retries=0)
    answers: list[Any] = [
        await chat.create(messages=MESSAGES),
        await chat.create(messages=MESSAGES, alignment="plain"),
        await chat.create(messages=MESSAGES, extra_body=plain),
        await aclient.responses.create(input="hi"),
        await copy.chat.completions.create(messages=MESSAGES),
    ]
    assert [a.alignment.strategy for a in answers] == [
        ["value_prompt"],
        ["plain"],
        ["plain"],
        ["value_prompt"],
        ["value_prompt"],
    ]


def test_raw_responses(client: OpenAI) -> None:
    raw: Any = client.chat.completions.with_raw_response.create(
        messages=MESSAGES, extra_body={"alignment": {"strategy": "value_prompt"}}
    )
    assert raw.headers["x-alignment-status"] == "applied"
    assert raw.parse().alignment.status == "applied"


class Verdict(BaseModel):
    ok: bool


@pytest.mark.parametrize("alignment", [None, "value_prompt"])
def test_parse(tmp_path: Path, alignment: str | None) -> None:
    transport = SyncASGITransport(app_of(tmp_path))
    with OpenAI(base_url=URL, model="m", http_client=httpx2.Client(transport=transport)) as client:
        answer = client.chat.completions.parse(messages=MESSAGES, response_format=Verdict, alignment=alignment)
    assert answer.choices[0].message.parsed == Verdict(ok=False)
    assert (answer.alignment is None) == (alignment is None)
    assert answer._request_id


async def test_parse_async(aclient: AsyncOpenAI) -> None:
    answer = await aclient.chat.completions.parse(messages=MESSAGES)
    assert answer.alignment is not None
    assert answer.alignment.status == "applied"


async def test_the_first_chunk_arrives_before_half_of_the_answers_time(tmp_path: Path) -> None:
    transport = ASGITransport(app_of(tmp_path, "one two three four five six seven eight nine ten", tokens_per_s=25))
    async with AsyncOpenAI(base_url=URL, model="m", http_client=httpx2.AsyncClient(transport=transport)) as client:
        await client.models.list()
        began = time.monotonic()
        chunks = await client.chat.completions.create(messages=MESSAGES, stream=True, alignment="value_prompt")
        times = [time.monotonic() - began async for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(times) > 5
    assert times[0] < times[-1] / 2


def test_errors_are_openais(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(messages=MESSAGES, alignment="urail")
    assert caught.value.code == "unknown_strategy"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(messages=MESSAGES, model="nobody")


def test_arguments_that_contradict_each_other(client: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(openai.OpenAIError, match="given twice"):
        client.chat.completions.create(messages=MESSAGES, alignment="a", extra_body={"alignment": {}})
    with pytest.raises(openai.OpenAIError, match="base_url names a server that runs already, engine one"):
        OpenAI(base_url=URL, engine="scripted")
    with pytest.raises(openai.OpenAIError, match="http_client needs base_url"):
        OpenAI(model="m", http_client=httpx2.Client())
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(openai.OpenAIError, match="no server: give base_url"):
        OpenAI()
    with pytest.raises(openai.OpenAIError, match="no model"):
        OpenAI(base_url=URL).chat.completions.create(messages=MESSAGES)
    monkeypatch.setenv("OPENAI_BASE_URL", URL)
    assert str(OpenAI(model="m").base_url) == f"{URL}/"
    with pytest.raises(openai.OpenAIError, match="OPENAI_BASE_URL names a server"):
        OpenAI(model="m", config="trimtab.yaml")
