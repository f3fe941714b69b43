"""/v1/files over a real app, as openai-python calls it."""

import asyncio
import errno
import os
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.asgi import ASGITransport, SyncASGITransport
from tests.server.jobs.records import a_batch
from tests.server.services import MODEL, service_of
from trimtab.server.app import create_app
from trimtab.server.jobs.blobs import Blobs
from trimtab.server.jobs.opened import FOLDER, Jobs, ServedJobs, open_jobs
from trimtab.server.jobs.records import WORKED
from trimtab.server.settings import JobsConfig, Settings

LINES = b'{"custom_id": "1"}\n{"custom_id": "2"}\n'
FORM = "multipart/form-data; boundary=x"
FORM_END = b"\r\n--x--\r\n"
KEYS = [
    {"name": "app", "key": "app", "scopes": ["batch"]},
    {"name": "other", "key": "other", "scopes": ["batch"]},
    {"name": "chat", "key": "chat", "scopes": ["infer", "corpus", "admin"]},
]


def settings_of(folder: Path, **settings: Any) -> Settings:
    return Settings.model_validate({"data_dir": folder, **settings})


def app_of(settings: Settings) -> Any:
    return create_app(settings, service=service_of(settings))


@asynccontextmanager
async def calling(app: Any, *, key: str = "app") -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(transport=ASGITransport(app), base_url="http://test", headers=headers) as http:
        yield http


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with calling(app_of(settings_of(tmp_path))) as client:
        yield client


def client_of(http: httpx2.AsyncClient, key: str = "app") -> AsyncOpenAI:
    return AsyncOpenAI(base_url="http://test/v1", api_key=key, http_client=http, max_retries=0)


def form_head(name: str) -> bytes:
    """A form up to the first byte of its file."""
    parts = ('name="purpose"\r\n\r\nbatch\r\n', f'name="file"; filename="{name}"\r\n\r\n')
    return "".join(f"--x\r\nContent-Disposition: form-data; {part}" for part in parts).encode()


async def upload(http: httpx2.AsyncClient, data: bytes = LINES, name: str = "in.jsonl", **fields: str) -> httpx2.Response:
    return await http.post("/v1/files", files={"file": (name, data)}, data={"purpose": "batch", **fields})


async def kept(http: httpx2.AsyncClient, **fields: str) -> str:
    answer = await upload(http, **fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def told(answer: httpx2.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


async def test_the_life_of_a_file_with_openai_python(http: httpx2.AsyncClient) -> None:
    client = client_of(http)
    made = await client.files.create(file=("in.jsonl", LINES), purpose="batch")
    assert (made.bytes, made.filename, made.purpose, made.object) == (len(LINES), "in.jsonl", "batch", "file")
    assert made.status == "processed"
    assert made.expires_at == made.created_at + 30 * 86_400
    assert await client.files.retrieve(made.id) == made
    assert await client.files.wait_for_processing(made.id) == made
    assert (await client.files.content(made.id)).content == LINES
    assert [file async for file in client.files.list()] == [made]
    deleted = await client.files.delete(made.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "file", True)
    assert [file async for file in client.files.list()] == []
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as raised:
            await call(made.id)
        assert raised.value.code == "file_not_found"


def test_the_life_of_a_file_with_the_synchronous_client(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINES)
    transport = SyncASGITransport(app_of(settings_of(tmp_path / "data")))
    with httpx2.Client(transport=transport, base_url="http://test") as http:
        client = OpenAI(base_url="http://test/v1", api_key="none", http_client=http, max_retries=0)
        hour: Any = {"anchor": "created_at", "seconds": 3600}
        made = client.files.create(file=tmp_path / "in.jsonl", purpose="batch", expires_after=hour)
        assert (made.filename, made.expires_at) == ("in.jsonl", made.created_at + 3600)
        with client.files.with_streaming_response.content(made.id) as answer:
            assert answer.headers["content-length"] == str(len(LINES))
            assert b"".join(answer.iter_bytes()) == LINES
        assert client.files.wait_for_processing(made.id).status == "processed"
        assert [file.id for file in client.files.list()] == [made.id]
        assert client.files.delete(made.id).deleted


async def test_lists_come_in_pages(http: httpx2.AsyncClient) -> None:
    client = client_of(http)
    made = [(await client.files.create(file=(f"{at}.jsonl", LINES), purpose="batch")).id for at in range(5)]
    assert [file.id async for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id async for file in client.files.list(limit=2, order="asc")] == made
    assert [file.id async for file in client.files.list(after=made[2], order="asc", purpose="batch")] == made[3:]
    assert [file async for file in client.files.list(purpose="batch_output")] == []
    page = (await http.get("/v1/files", params={"limit": 2, "order": "asc"})).json()
    assert {**page, "data": len(page["data"])} == {
        "object": "list",
        "data": 2,
        "first_id": made[0],
        "last_id": made[1],
        "has_more": True,
    }
    empty = (await http.get("/v1/files", params={"after": made[0]})).json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("query", "status", "code", "param"),
    [
        ("limit=0", 400, "invalid_value", "limit"),
        ("limit=10001", 400, "invalid_value", "limit"),
        ("order=up", 400, "invalid_value", "order"),
        ("purpose=fine-tune", 400, "invalid_value", "purpose"),
        ("after=file-none", 404, "not_found", "after"),
    ],
)
async def test_a_list_that_cannot_be(http: httpx2.AsyncClient, query: str, status: int, code: str, param: str) -> None:
    assert told(await http.get(f"/v1/files?{query}")) == (status, code, param)


@pytest.mark.parametrize(
    ("fields", "code", "param", "message"),
    [
        ({"purpose": "fine-tune"}, "invalid_value", "purpose", "allowed is 'batch'"),
        ({"purpose": ""}, "invalid_value", "purpose", "allowed is 'batch'"),
        ({"expires_after[seconds]": "3600"}, "invalid_value", "expires_after.anchor", ""),
        ({"expires_after[anchor]": "created_at"}, "invalid_value", "expires_after.seconds", ""),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "invalid_value",
            "expires_after.anchor",
            "created_at",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
            "invalid_value",
            "expires_after.seconds",
            "3600",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"},
            "invalid_value",
            "expires_after.seconds",
            "2592000",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
            "invalid_value",
            "expires_after.seconds",
            "",
        ),
        ({"expires_after": "3600"}, "invalid_value", "expires_after", ""),
        ({"expires_afterwards[x]": "3600"}, "invalid_value", "expires_afterwards[x]", ""),
        ({"visibility": "public"}, "invalid_value", "visibility", ""),
    ],
)
async def test_bad_fields_are_named(
    http: httpx2.AsyncClient, fields: dict[str, str], code: str, param: str, message: str
) -> None:
    answer = await upload(http, **fields)
    assert told(answer) == (400, code, param)
    assert message in answer.json()["error"]["message"]
    assert (await http.get("/v1/files")).json()["data"] == []


@pytest.mark.parametrize("seconds", [3600, 2_592_000])
async def test_both_ends_of_an_expiry(http: httpx2.AsyncClient, seconds: int) -> None:
    expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(seconds)}
    made = (await upload(http, **expiry)).json()
    assert made["expires_at"] - made["created_at"] == seconds


async def test_a_form_that_is_none(http: httpx2.AsyncClient) -> None:
    two = [("file", ("a", LINES)), ("file", ("b", LINES))]
    only = {"purpose": "batch"}
    text = {"content-type": FORM}
    cases: list[tuple[dict[str, Any], str | None, str]] = [
        ({"json": only}, None, "multipart/form-data"),
        ({"data": only}, None, "multipart/form-data"),
        ({"content": b""}, None, "got none"),
        ({"content": b"no form", "headers": text}, None, ""),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data"}}, None, "boundary"),
        ({"files": {"other": ("a", LINES)}, "data": only}, "other", ""),
        ({"files": {"purpose": (None, b"batch"), "file": (None, LINES)}}, "file", "file name"),
        ({"files": {"file": ("a", b"")}, "data": only}, "file", "empty"),
        ({"files": two, "data": only}, None, "Too many files"),
        ({"files": [("file", ("a", LINES)), ("purpose", (None, b"batch")), ("purpose", (None, b"batch"))]}, "purpose", "twice"),
        ({"files": {"file": ("a", LINES)}}, "purpose", "required"),
        ({"files": {"file": ("a", LINES), "purpose": (None, b"b" * 5000)}}, None, "4KB"),
    ]
    for sent, param, message in cases:
        answer = await http.post("/v1/files", **sent)
        assert answer.status_code == 400, sent
        assert answer.json()["error"]["param"] == param, answer.text
        assert message in answer.json()["error"]["message"]
    assert (await http.get("/v1/files")).json()["data"] == []


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the parser leaves its half file to the collector
async def test_half_a_form_is_no_file(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/files", content=form_head("f") + b"half a fi", headers={"content-type": FORM})
    assert told(answer) == (400, "invalid_value", "file")
    assert (await http.get("/v1/files")).json()["data"] == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\b", "ü ☃.jsonl", "x" * 255, 'a"b;c', "..", ".part"])
async def test_a_file_name_is_a_name_and_no_path(tmp_path: Path, http: httpx2.AsyncClient, name: str) -> None:
    client = client_of(http)
    made = await client.files.create(file=(name, LINES), purpose="batch")
    assert made.filename.replace("%22", '"') == name
    assert [path.name for path in (tmp_path / FOLDER / "files").iterdir()] == [made.id]
    answer = await http.get(f"/v1/files/{made.id}/content")
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert answer.headers["content-disposition"].isascii()
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["a\x07b", "a\x1b[31m", "a\u2028b", "x" * 256])
async def test_a_file_name_that_would_write_over_a_terminal_is_refused(http: httpx2.AsyncClient, name: str) -> None:
    body = form_head(name) + LINES + FORM_END
    answer = await http.post("/v1/files", content=body, headers={"content-type": FORM})
    assert told(answer) == (400, "invalid_value", "file")
    assert not set(answer.json()["error"]["message"]) & {"\x07", "\x1b", "\u2028"}


@pytest.mark.parametrize("id", ["file-none", "x" * 3000, "%00", "%F0%9F%98%80", "..%2f..%2fjobs.sqlite3"])
async def test_an_unknown_file_is_a_404(http: httpx2.AsyncClient, id: str) -> None:
    for method, path in (("GET", f"/v1/files/{id}"), ("GET", f"/v1/files/{id}/content"), ("DELETE", f"/v1/files/{id}")):
        answer = await http.request(method, path)
        assert answer.status_code == 404, answer.text
        assert answer.json()["error"]["code"] in {"file_not_found", "endpoint_not_supported"}


async def test_a_key_sees_its_own_files_alone(tmp_path: Path) -> None:
    app = app_of(settings_of(tmp_path, keys=KEYS))
    async with calling(app) as http:
        file = await kept(http)
        http.headers["authorization"] = "Bearer other"
        assert (await http.get("/v1/files")).json()["data"] == []
        unknown = (await http.get("/v1/files/file-none")).json()["error"]["message"]
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            answer = await http.request(method, f"/v1/files/{file}{path}")
            assert told(answer) == (404, "file_not_found", "file_id")
            assert answer.json()["error"]["message"] == unknown.replace("file-none", file)
        assert told(await http.get("/v1/files", params={"after": file})) == (404, "not_found", "after")
        http.headers["authorization"] = "Bearer app"
        assert (await http.get(f"/v1/files/{file}/content")).content == LINES


async def test_files_need_the_scope_batch(tmp_path: Path) -> None:
    async with calling(app_of(settings_of(tmp_path / "data", keys=KEYS)), key="chat") as http:
        answers = [await upload(http)]
        for method, path in (("GET", ""), ("GET", "/file-x"), ("GET", "/file-x/content"), ("DELETE", "/file-x")):
            answers.append(await http.request(method, f"/v1/files{path}"))
        assert {told(answer) for answer in answers} == {(403, "insufficient_scope", None)}
        http.headers["authorization"] = "Bearer nobody"
        assert (await upload(http)).status_code == 401
    assert not (tmp_path / "data").exists()


async def test_a_file_in_use_is_not_deleted(tmp_path: Path) -> None:
    app = app_of(settings_of(tmp_path))
    async with calling(app) as http:
        file = await kept(http)
        jobs: Jobs = await app.state.jobs.get()
        jobs.store.add_batch(batch := a_batch(jobs.store.get_file("anonymous", file)))
        answer = await http.delete(f"/v1/files/{file}")
        assert told(answer) == (409, "file_in_use", "file_id")
        assert batch.id in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"
        assert (await http.get(f"/v1/files/{file}/content")).content == LINES
        jobs.store.move(batch.id, WORKED, "cancelled", {})
        assert (await http.delete(f"/v1/files/{file}")).status_code == 200


async def test_uploads_have_a_limit_of_their_own(tmp_path: Path) -> None:
    """0.01 MiB are 10485 bytes; the form around a file does not count, and other routes keep theirs."""
    settings = settings_of(tmp_path, jobs={"file_mib": 0.01}, limits={"body_mib": 0.001})
    async with calling(app_of(settings)) as http:
        assert (await upload(http, b"x" * 10_485)).status_code == 200
        for size in (10_486, 200_000):
            answer = await upload(http, b"x" * size)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "request_too_large"
            assert "jobs.file_mib" in answer.json()["error"]["message"]
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 5000}]}
        refused = await http.post("/v1/chat/completions", json=chat)
        assert (refused.status_code, "limits.body_mib" in refused.text) == (413, True)
        assert len((await http.get("/v1/files")).json()["data"]) == 1


async def test_a_key_has_a_quota(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, keys=KEYS, jobs={"key_gib": 2.5 * len(LINES) / 1024**3})
    async with calling(app_of(settings)) as http:
        first, _ = await kept(http), await kept(http)
        answer = await upload(http)
        assert told(answer) == (413, "storage_quota_exceeded", "file")
        assert "jobs.key_gib" in answer.json()["error"]["message"]
        http.headers["authorization"] = "Bearer other"
        await kept(http)
        http.headers["authorization"] = "Bearer app"
        await http.delete(f"/v1/files/{first}")
        await kept(http)
        assert len(list((tmp_path / FOLDER / "files").iterdir())) == 3


async def test_a_full_disk_is_told_and_nothing_stays(tmp_path: Path) -> None:
    def no_room(path: Path) -> BinaryIO:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opening(config: JobsConfig, data: Path) -> Jobs:
        return Jobs(open_jobs(config, data).store, Blobs(data / "files", new_file=no_room), config)

    settings = settings_of(tmp_path)
    app = app_of(settings)
    app.state.jobs = ServedJobs(settings.jobs, tmp_path, opening=opening)
    async with calling(app) as http:
        answer = await upload(http)
        assert told(answer) == (507, "insufficient_storage", None)
        assert answer.headers["x-should-retry"] == "false"
        assert (await http.get("/v1/files")).json()["data"] == []
    assert list((tmp_path / "files").iterdir()) == []


async def test_files_outlive_the_server(tmp_path: Path) -> None:
    async with calling(app_of(settings_of(tmp_path))) as http:
        file = await kept(http)
    async with calling(app_of(settings_of(tmp_path))) as http:
        assert (await http.get(f"/v1/files/{file}/content")).content == LINES


async def test_a_server_that_is_asked_for_no_file_writes_nothing(tmp_path: Path) -> None:
    async with calling(app_of(settings_of(tmp_path / "data"))) as http:
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200
    assert not (tmp_path / "data").exists()


async def test_pages_of_other_sites_cannot_upload(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, http={"cors_origins": ["https://friend.example"]})
    async with calling(app_of(settings)) as http:
        for origin, status in (
            ("https://evil.example", 403),
            ("null", 403),
            ("https://friend.example", 200),
            ("http://test", 200),
        ):
            http.headers["origin"] = origin
            assert (await upload(http)).status_code == status, origin


async def test_both_ways_take_little_memory(tmp_path: Path) -> None:
    """24 MiB go in and out; of them at most a few pieces are in memory: one of 1 MiB is spooled, copied, sent."""
    app = app_of(settings_of(tmp_path))
    piece, pieces = b"x" * 2**18, 96
    async with calling(app) as http:
        await kept(http)
        tracemalloc.start()
        try:
            file = await _post(app, [form_head("f"), *[piece] * pieces, FORM_END])
            up = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            async with http.stream("GET", f"/v1/files/{file}/content") as answer:
                sizes = [len(chunk) async for chunk in answer.aiter_raw()]
            down = max(sizes)
        finally:
            tracemalloc.stop()
        assert up < 8 * 2**20
        assert sum(sizes) == len(piece) * pieces
        assert down <= 2**18


async def _post(app: Any, chunks: list[bytes]) -> str:
    """The id of a file whose body arrives in chunks and announces no length."""
    arriving = iter(chunks)
    sent: list[Any] = []

    async def receive() -> Any:
        chunk = next(arriving, None)
        if chunk is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": chunk, "more_body": chunk is not chunks[-1]}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/files",
        "raw_path": b"/v1/files",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", FORM.encode()), (b"host", b"test")],
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 200, sent
    made: dict[str, Any] = httpx2.Response(200, content=sent[1]["body"]).json()
    return str(made["id"])


async def test_a_client_that_leaves_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    app = app_of(settings_of(tmp_path))
    async with calling(app) as http:
        await kept(http)
        half = {"type": "http.request", "body": form_head("f") + b"half", "more_body": True}
        messages = iter([half, {"type": "http.disconnect"}])
        sent: list[Any] = []

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", FORM.encode()), (b"host", b"test")]
        scope = {"type": "http", "method": "POST", "path": "/v1/files", "query_string": b"", "headers": headers}
        await app({**scope, "http_version": "1.1", "raw_path": b"/v1/files", "root_path": ""}, receive, send)
        assert sent[0]["status"] == 499
        assert len((await http.get("/v1/files")).json()["data"]) == 1
    assert len(list((tmp_path / FOLDER / "files").iterdir())) == 1


async def test_a_reader_that_leaves_frees_the_file_and_a_deleted_one_is_read_to_its_end(http: httpx2.AsyncClient) -> None:
    big = b"y" * 2**21
    file = (await upload(http, big)).json()["id"]
    async with http.stream("GET", f"/v1/files/{file}/content") as answer:
        chunks = answer.aiter_raw()
        first = await anext(chunks)
        assert (await http.delete(f"/v1/files/{file}")).status_code == 200
        assert first + b"".join([chunk async for chunk in chunks]) == big
    other = (await upload(http, big)).json()["id"]
    async with http.stream("GET", f"/v1/files/{other}/content") as answer:
        await anext(answer.aiter_raw())
    assert (await http.get(f"/v1/files/{other}/content")).content == big


async def test_a_database_that_cannot_be_used_is_told_and_chat_goes_on(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    app = app_of(settings)
    config = settings.jobs.model_copy(update={"database": None})
    (tmp_path / FOLDER).write_text("in the way")
    app.state.jobs = ServedJobs(config, tmp_path)
    async with calling(app) as http:
        answer = await http.get("/v1/files")
        assert told(answer) == (503, "jobs_unavailable", None)
        assert answer.headers["retry-after"]
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200
