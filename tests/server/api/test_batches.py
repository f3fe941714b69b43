"""/v1/batches through openai-python, on the scripted engine."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from openai.types import Batch

from tests.asgi import ASGITransport
from tests.server.api.serving import Serving, scripted, serving
from tests.waiting import until
from trimtab.server.app import create_app
from trimtab.server.settings import Settings

MODEL = "org/test-model"
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


def chat(content: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def rows(*bodies: dict[str, Any], url: str = CHAT) -> str:
    """Lines with the ids c0, c1, ..."""
    lines = ({"custom_id": f"c{at}", "method": "POST", "url": url, "body": body} for at, body in enumerate(bodies))
    return "\n".join(map(json.dumps, lines))


async def submitted(client: AsyncOpenAI, text: str, endpoint: Any = CHAT, **fields: Any) -> Batch:
    """A new batch over a new file."""
    file = await client.files.create(file=("in.jsonl", text.encode()), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields)


async def ended(client: AsyncOpenAI, batch: Batch) -> Batch:
    """The batch at its end."""

    async def over() -> bool:
        return (await client.batches.retrieve(batch.id)).status in ENDED

    await until(over)
    return await client.batches.retrieve(batch.id)


async def output(client: AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(line) for line in (await client.files.content(file_id)).text.splitlines()]


@asynccontextmanager
async def app(data: Path, *, keys: tuple[str, ...] = (), **settings: Any) -> AsyncIterator[list[Serving]]:
    """One server; a client a key."""
    keyed = [{"name": key, "key": key, "scopes": ["batch"]} for key in keys]
    chosen = scripted(data_dir=data, keys=keyed, **settings)
    async with ASGITransport(create_app(chosen)) as transport:
        clients = []
        for key in keys or ("none",):
            http = httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"authorization": f"Bearer {key}"})
            clients.append(Serving(AsyncOpenAI(base_url="http://test/v1", api_key=key, http_client=http, max_retries=0), http))
        yield clients


async def test_the_life_of_a_batch(tmp_path: Path) -> None:
    async with serving(scripted("fine thanks", data_dir=tmp_path)) as server:
        client = server.openai
        bodies = (chat("one"), chat("two", temperature=-1), chat("three", max_tokens=4))
        made = await submitted(client, rows(*bodies), metadata={"run": "7"})
        assert (made.object, made.status, made.endpoint, made.completion_window) == ("batch", "validating", CHAT, "24h")
        assert (made.metadata, made.errors, made.output_file_id) == ({"run": "7"}, None, None)
        assert made.expires_at == made.created_at + 86_400
        done = await ended(client, made)
        assert (done.status, done.model, done.metadata) == ("completed", MODEL, {"run": "7"})
        assert done.request_counts is not None
        assert done.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
        assert done.created_at <= (done.in_progress_at or 0) <= (done.finalizing_at or 0) <= (done.completed_at or 0)

        first, second = await output(client, done.output_file_id)
        assert (first["custom_id"], first["error"], first["response"]["status_code"]) == ("c0", None, 200)
        body = first["response"]["body"]
        assert (body["object"], body["choices"][0]["message"]["content"]) == ("chat.completion", "fine thanks")
        assert second["response"]["body"]["choices"][0]["finish_reason"] == "length"
        assert first["response"]["request_id"] != second["response"]["request_id"]
        (refused,) = await output(client, done.error_file_id)
        assert (refused["custom_id"], refused["response"]["status_code"], refused["error"]) == ("c1", 400, None)
        assert refused["response"]["body"]["error"]["param"] == "temperature"

        answers = (body["usage"], second["response"]["body"]["usage"])
        assert done.usage is not None
        assert done.usage.input_tokens == sum(usage["prompt_tokens"] for usage in answers)
        assert done.usage.output_tokens == sum(usage["completion_tokens"] for usage in answers)
        assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens
        assert (done.usage.input_tokens_details.cached_tokens, done.usage.output_tokens_details.reasoning_tokens) == (0, 0)

        file = await client.files.retrieve(str(done.output_file_id))
        assert (file.purpose, file.filename) == ("batch_output", f"{done.id}_output.jsonl")
        shown = (await server.http.get("/metrics")).text
        assert 'trimtab_batch_lines_total{outcome="completed"} 2.0' in shown
        assert 'trimtab_batch_lines_total{outcome="failed"} 1.0' in shown
        assert 'trimtab_batches_ended_total{status="completed"} 1.0' in shown
        assert f'trimtab_completion_tokens_total{{model="{MODEL}"}} {done.usage.output_tokens}.0' in shown


async def test_completions(tmp_path: Path) -> None:
    async with serving(scripted("and on", data_dir=tmp_path)) as server:
        text = rows({"model": MODEL, "prompt": "go"}, {"prompt": "no model"}, url=COMPLETIONS)
        done = await ended(server.openai, await submitted(server.openai, text, COMPLETIONS))
        found = await output(server.openai, done.output_file_id)
        assert [row["response"]["body"]["choices"][0]["text"] for row in found] == ["and on", "and on"]


async def test_embeddings_of_a_model_that_is_not_served_are_failures(tmp_path: Path) -> None:
    async with serving(scripted(data_dir=tmp_path)) as server:
        text = rows({"model": "nobody", "input": "x"}, url=EMBEDDINGS)
        done = await ended(server.openai, await submitted(server.openai, text, EMBEDDINGS))
        (row,) = await output(server.openai, done.error_file_id)
        assert (row["response"]["status_code"], row["response"]["body"]["error"]["code"]) == (404, "model_not_found")


async def test_a_strategy_holds_for_lines(tmp_path: Path) -> None:
    """A locked pipeline shapes the answer to a line as it does that to a request; the row says so."""
    policies = [{"key": "*", "lock": "value_prompt"}]
    async with serving(scripted("so be it", data_dir=tmp_path, policies=policies)) as server:
        done = await ended(server.openai, await submitted(server.openai, rows(chat("one"))))
        (row,) = await output(server.openai, done.output_file_id)
        assert row["response"]["body"]["alignment"]["strategy"] == ["value_prompt"]
        assert row["response"]["body"]["alignment"]["status"] == "applied"


async def test_a_file_with_faults(tmp_path: Path) -> None:
    async with serving(scripted(data_dir=tmp_path)) as server:
        text = rows(chat("one")) + '\n{"oops\n' + rows(chat("again"))
        failed = await ended(server.openai, await submitted(server.openai, text))
        assert failed.status == "failed"
        assert failed.failed_at is not None
        assert failed.errors is not None
        assert failed.errors.object == "list"
        faults = failed.errors.data or []
        assert [(fault.line, fault.code, fault.param) for fault in faults] == [
            (2, "invalid_json_line", None),
            (3, "duplicate_custom_id", "custom_id"),
        ]
        assert all(fault.message for fault in faults)
        assert (failed.output_file_id, failed.error_file_id) == (None, None)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint", (CHAT, COMPLETIONS, EMBEDDINGS)),
        ({"completion_window": "1h"}, "completion_window", ("24h",)),
        ({"metadata": {str(at): "" for at in range(17)}}, "metadata", ("16",)),
        ({"metadata": {"k" * 65: ""}}, "metadata", ("64",)),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", ("512",)),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, "output_expires_after.seconds", ("3600",)),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "output_expires_after.anchor", ("created_at",)),
        ({"input_file_id": ""}, "input_file_id", ("1 character",)),
        ({"wait": True}, "wait", ("not permitted",)),
    ],
)
async def test_what_cannot_be_a_batch(tmp_path: Path, fields: dict[str, Any], param: str, words: tuple[str, ...]) -> None:
    body = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h", **fields}
    async with serving(scripted(data_dir=tmp_path)) as server:
        refused = await server.http.post("/v1/batches", json=body)
        error = refused.json()["error"]
        assert (refused.status_code, error["param"].startswith(param)) == (400, True), error
        assert all(word in error["message"] for word in words), error["message"]


async def test_files_that_are_no_input(tmp_path: Path) -> None:
    async with serving(scripted(data_dir=tmp_path)) as server:
        client = server.openai
        with pytest.raises(openai.NotFoundError) as caught:
            await client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
        assert (caught.value.code, caught.value.param) == ("file_not_found", "input_file_id")
        done = await ended(client, await submitted(client, rows(chat("one"))))
        with pytest.raises(openai.BadRequestError, match="batch_output") as refused:
            await client.batches.create(input_file_id=str(done.output_file_id), endpoint=CHAT, completion_window="24h")
        assert refused.value.param == "input_file_id"


async def test_lists_go_from_new_to_old_in_pages(tmp_path: Path) -> None:
    async with serving(scripted(data_dir=tmp_path)) as server:
        made = [(await submitted(server.openai, rows(chat("one")))).id for _ in range(5)]
        page = await server.openai.batches.list(limit=2)
        assert ([batch.id for batch in page.data], page.has_more) == (made[:-3:-1], True)
        assert [batch.id async for batch in server.openai.batches.list(limit=2)] == made[::-1]
        with pytest.raises(openai.NotFoundError):
            await server.openai.batches.list(after="batch_none")
        for limit in (0, 101):
            with pytest.raises(openai.BadRequestError):
                await server.openai.batches.list(limit=limit)


async def test_a_key_sees_its_own_batches_alone(tmp_path: Path) -> None:
    async with app(tmp_path, keys=("a", "b")) as (mine, other):
        batch = await submitted(mine.openai, rows(chat("one")))
        for asked in (other.openai.batches.retrieve(batch.id), other.openai.batches.cancel(batch.id)):
            with pytest.raises(openai.NotFoundError) as caught:
                await asked
            assert caught.value.code == "batch_not_found"
        with pytest.raises(openai.NotFoundError):
            await other.openai.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")
        assert (await other.openai.batches.list()).data == []
        assert (await ended(mine.openai, batch)).status == "completed"


async def test_the_scope_batch_is_needed(tmp_path: Path) -> None:
    keys = [{"name": "app", "key": "app", "scopes": ["infer"]}]
    async with serving(scripted(data_dir=tmp_path, keys=keys), key="app") as server:
        with pytest.raises(openai.PermissionDeniedError, match="'batch'"):
            await server.openai.batches.list()


SLOW = {"models": {MODEL: {"engine": {"kind": "scripted", "tokens_per_s": 20}}}}
"""A sentence of some twenty tokens takes a second."""


async def test_cancelling_one_in_work(tmp_path: Path) -> None:
    settings = Settings.model_validate({**SLOW, "data_dir": tmp_path})
    async with serving(settings) as server:
        client = server.openai
        batch = await submitted(client, rows(chat("x", max_tokens=1), *(chat("word " * 50) for _ in range(3))))

        async def begun() -> bool:
            counts = (await client.batches.retrieve(batch.id)).request_counts
            return counts is not None and counts.completed == 1

        await until(begun)
        asked = await client.batches.cancel(batch.id)
        assert asked.status == "cancelling"
        assert asked.cancelling_at is not None
        assert (await client.batches.cancel(batch.id)).status in {"cancelling", "cancelled"}
        done = await ended(client, batch)
        assert (done.status, done.error_file_id) == ("cancelled", None)
        assert done.cancelled_at is not None
        assert [row["custom_id"] for row in await output(client, done.output_file_id)] == ["c0"]
        assert (await client.batches.cancel(batch.id)).status == "cancelled"
        assert (await client.batches.retrieve(batch.id)).cancelled_at == done.cancelled_at


async def test_cancelling_one_that_has_not_begun(tmp_path: Path) -> None:
    """One batch at a time: the second waits behind the first."""
    settings = Settings.model_validate({**SLOW, "data_dir": tmp_path, "jobs": {"batches": 1}})
    async with serving(settings) as server:
        client = server.openai
        first = await submitted(client, rows(chat("word " * 50)))
        second = await submitted(client, rows(chat("one")))
        done = await client.batches.cancel(second.id)
        assert (done.status, done.cancelled_at, done.output_file_id) == ("cancelled", done.cancelling_at, None)
        assert (await client.batches.cancel(first.id)).status in {"cancelling", "cancelled"}


async def test_cancelling_one_that_has_ended(tmp_path: Path) -> None:
    async with serving(scripted(data_dir=tmp_path)) as server:
        completed = await ended(server.openai, await submitted(server.openai, rows(chat("one"))))
        failed = await ended(server.openai, await submitted(server.openai, "nonsense"))
        assert (completed.status, failed.status) == ("completed", "failed")
        for batch in (completed, failed):
            with pytest.raises(openai.ConflictError, match=f"is {batch.status} and cannot") as caught:
                await server.openai.batches.cancel(batch.id)
            assert caught.value.code == "batch_ended"
            assert caught.value.response.headers["x-should-retry"] == "false"


async def test_a_batch_goes_on_after_a_restart(tmp_path: Path) -> None:
    """The first server ends in good order while lines are in work; the second one, of the same folder, answers the rest."""
    async with serving(Settings.model_validate({**SLOW, "data_dir": tmp_path})) as server:
        text = rows(chat("x", max_tokens=1), *(chat("word " * 50) for _ in range(3)))
        batch = await submitted(server.openai, text)

        async def begun() -> bool:
            counts = (await server.openai.batches.retrieve(batch.id)).request_counts
            return counts is not None and counts.completed == 1

        await until(begun)
    async with serving(scripted("quick", data_dir=tmp_path)) as server:
        done = await ended(server.openai, batch)
        found = await output(server.openai, done.output_file_id)
        assert [row["custom_id"] for row in found] == ["c0", "c1", "c2", "c3"]
        assert [row["response"]["body"]["choices"][0]["message"]["content"] for row in found[1:]] == ["quick"] * 3


async def test_a_server_that_is_asked_for_no_batch_makes_no_database(tmp_path: Path) -> None:
    async with serving(scripted(data_dir=tmp_path)) as server:
        assert (await server.http.post(CHAT, json=chat("hi"))).status_code == 200
    assert not os.listdir(tmp_path)
