"""`POST /v1/models/{model}/weights`: who may replace weights, on which models, and what is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.asgi import ASGITransport
from tests.server.engines.transformers.checkpoints import write_adapter, write_llama
from tests.server.services import service_of
from trimtab.server.app import create_app
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.models import Registry, ServedModel
from trimtab.server.service import Service
from trimtab.server.settings import Settings, TransformersConfig

NAME = "org/tiny"
ROUTE = f"/v1/models/{NAME}/weights"
KEYS = [
    {"name": "app", "key": "app", "scopes": ["infer", "batch", "corpus"]},
    {"name": "trainer", "key": "trainer", "scopes": ["infer", "admin"]},
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return write_llama(folder / "old", 0), write_llama(folder / "new", 1)


@asynccontextmanager
async def app(path: Path, *, key: str = "trainer", lora: Any = None, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server of one tiny model."""
    chosen = Settings.model_validate({"pipelines": {"careful": ["value_prompt"]}, **settings})
    config = TransformersConfig(dtype="float32", device="cpu", lora=lora or {})
    engine = TransformersEngine(path, config, name=NAME)
    models = {NAME: ServedModel(NAME, engine, 1), **{n: ServedModel(n, engine, 1, adapter=n) for n in lora or {}}}
    transport = ASGITransport(create_app(chosen, service=Service(chosen, Registry(models, tuple(chosen.pipelines)))))
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


async def ids(http: httpx2.AsyncClient) -> list[int]:
    body = {"model": NAME, "prompt": [40, 41, 42], "max_tokens": 8, "temperature": 0, "return_token_ids": True}
    found: list[int] = (await http.post("/v1/completions", json=body)).json()["choices"][0]["token_ids"]
    return found


async def version(http: httpx2.AsyncClient) -> Any:
    return (await http.get(f"/v1/models/{NAME}")).json()["alignment"]["weights_version"]


async def test_new_weights_answer_under_the_old_name(checkpoints: tuple[Path, Path]) -> None:
    old, new = checkpoints
    async with app(old, keys=KEYS) as http:
        assert await version(http) == 0
        before = await ids(http)
        answer = await http.post(ROUTE, json={"path": str(new)})
        assert answer.json() == {"object": "model.weights", "model": NAME, "version": 1}
        assert await version(http) == 1
        assert await ids(http) != before
        assert (await http.post(ROUTE, json={"path": str(old)})).json()["version"] == 2
        assert await ids(http) == before


async def test_it_needs_the_scope_admin(checkpoints: tuple[Path, Path]) -> None:
    async with app(checkpoints[0], key="app", keys=KEYS) as http:
        answer = await http.post(ROUTE, json={"path": str(checkpoints[1])})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")
        assert await version(http) == 0


@pytest.mark.parametrize(
    ("where", "status"),
    [
        ({"host": "127.0.0.1"}, 200),
        ({"host": "::1"}, 200),
        ({"host": "0.0.0.0", "uds": "/tmp/t.sock"}, 200),
        ({"host": "0.0.0.0"}, 403),
        ({"host": "example.org"}, 403),
    ],
)
async def test_a_server_without_keys_takes_weights_only_where_no_other_machine_reaches_it(
    checkpoints: tuple[Path, Path], where: dict[str, str], status: int
) -> None:
    async with app(checkpoints[0], http=where) as http:
        answer = await http.post(ROUTE, json={"path": str(checkpoints[1])})
        assert answer.status_code == status
        assert await version(http) == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "path"),
        ({"path": 3}, "path"),
        ({"path": "/x", "force": True}, "force"),
        ({"path": "new"}, "not absolute"),
        ({"path": "/nowhere/at/all"}, "no directory"),
        ({"path": "/\0"}, "no directory"),
    ],
)
async def test_a_wrong_body_is_named(checkpoints: tuple[Path, Path], body: dict[str, Any], told: str) -> None:
    async with app(checkpoints[0]) as http:
        answer = await http.post(ROUTE, json=body)
        assert answer.status_code == 400
        assert told in answer.json()["error"]["message"]
        assert await version(http) == 0


async def test_models_whose_weights_stay(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    """An adapter, a base with adapters, a model that is not there, and an engine without weights; an alias is its model."""
    old, new = checkpoints
    adapter = write_adapter(tmp_path / "adapter", old, 0)
    body = {"path": str(new)}
    async with app(old, lora={"mine": str(adapter)}) as http:
        for name, status in (("mine", 400), (NAME, 400), ("nobody", 404)):
            assert (await http.post(f"/v1/models/{name}/weights", json=body)).status_code == status
    async with app(old) as http:
        assert (await http.post(f"/v1/models/{NAME}:careful/weights", json=body)).json()["model"] == NAME
    transport = ASGITransport(create_app(Settings(), service=service_of()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.post("/v1/models/double/weights", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_by_engine")


async def test_a_policy_that_leaves_the_model_out(checkpoints: tuple[Path, Path]) -> None:
    policies = [{"key": "trainer", "models": []}]
    async with app(checkpoints[0], keys=KEYS, policies=policies) as http:
        assert (await http.post(ROUTE, json={"path": str(checkpoints[1])})).status_code == 403
