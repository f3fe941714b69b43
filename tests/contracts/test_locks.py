"""No route reaches an engine without passing a locked pipeline: every route of the OpenAPI document is walked."""

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from tests.asgi import ASGITransport
from tests.server.services import MODEL, Spy, service_of
from trimtab.server.app import create_app
from trimtab.server.settings import KeyConfig, PolicyConfig, Settings

MARK = "Answer in the name of the harbour master."
KEY = "a-key-for-app1"
HEADERS = {"authorization": f"Bearer {KEY}"}
SETTINGS = Settings(
    pipelines={"marked": [{"kind": "value_prompt", "principles": [MARK]}]},
    keys=(KeyConfig(name="app1", key=KEY, scopes=frozenset({"infer", "batch", "corpus", "admin"})),),
    policies=(PolicyConfig(key="app1", lock="marked"),),
)
MESSAGES = [{"role": "user", "content": "hello"}]

GENERATING: Mapping[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"messages": MESSAGES},
        {"messages": MESSAGES, "stream": True},
        {"messages": MESSAGES, "n": 2},
        {
            "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "he"}],
            "continue_final_message": True,
            "add_generation_prompt": False,
        },
        {"messages": MESSAGES, "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    ],
    "/v1/completions": [{"prompt": "hello"}, {"prompt": [1, 2]}, {"prompt": ["a", [1]][:1], "stream": True, "echo": True}],
    "/v1/responses": [{"input": "hello"}, {"input": "hello", "stream": True}],
}
"""Bodies of every route that may generate."""

SILENT = {
    "/v1/models",
    "/v1/models/{model}",
    "/v1/models/{model}/weights",
    "/v1/embeddings",
    "/v1/corpora",
    "/v1/corpora/{name}",
    "/v1/corpora/{name}/documents",
    "/v1/corpora/{name}/documents/{id}",
    "/v1/corpora/{name}/search",
    "/v1/corpora/{name}/snapshots",
    "/v1/corpora/{name}/snapshots/{label}",
    "/v1/corpora/{name}/snapshots/{label}/restore",
    "/v1/files",
    "/v1/files/{file_id}",
    "/v1/files/{file_id}/content",
    "/v1/batches",
    "/v1/batches/{batch_id}",
    "/v1/batches/{batch_id}/cancel",
    "/v1/alignment/check",
    "/v1/alignment/strategies",
    "/v1/alignment/strategies/{kind}",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/livez",
    "/readyz",
    "/health",
    "/metrics",
    "/version",
}
"""Routes that never ask a model for text themselves; the lines of a batch are answered by the service, under the same lock."""


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
async def http(spy: Spy) -> Any:
    app = create_app(SETTINGS, service=service_of(SETTINGS, script=spy))
    async with ASGITransport(app) as transport, httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_every_route_is_known_here(http: httpx2.AsyncClient) -> None:
    paths = (await http.get("/openapi.json", headers=HEADERS)).json()["paths"]
    assert set(paths) - SILENT == set(GENERATING)


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, bodies in GENERATING.items() for body in bodies])
@pytest.mark.parametrize("model", [MODEL, f"{MODEL}:marked"])
async def test_a_generating_route_passes_the_lock(
    http: httpx2.AsyncClient, spy: Spy, path: str, body: dict[str, Any], model: str
) -> None:
    answer = await http.post(path, json={**body, "model": model}, headers=HEADERS)
    assert all(MARK in prompt for prompt in spy.prompts)
    if answer.status_code == 403:
        assert answer.json()["error"]["code"] == "strategy_not_allowed"
        assert not spy.prompts
    else:
        assert answer.status_code == 200, answer.text
        assert spy.prompts
        assert '"alignment"' in answer.text


@pytest.mark.parametrize("options", [{"strategy": "plain"}, {"on_error": "open"}, {"on_error": "degrade"}, {"strategi": "x"}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/completions"])
async def test_no_option_loosens_a_lock(http: httpx2.AsyncClient, spy: Spy, path: str, options: dict[str, Any]) -> None:
    body = {**GENERATING[path][0], "model": MODEL, "alignment": options}
    answer = await http.post(path, json=body, headers=HEADERS)
    assert answer.status_code in {400, 403}
    assert not spy.prompts


@pytest.mark.parametrize("nesting", [1, 2])
async def test_no_wrapping_hides_an_option_from_a_lock(http: httpx2.AsyncClient, spy: Spy, nesting: int) -> None:
    hidden: dict[str, Any] = {"alignment": {"strategy": "plain"}}
    for _ in range(nesting):
        hidden = {"extra_body": hidden}
    for path, bodies in GENERATING.items():
        answer = await http.post(path, json={**bodies[0], "model": MODEL, **hidden}, headers=HEADERS)
        assert answer.status_code in {400, 403}
        answer = await http.post(path, json={**bodies[0], "model": MODEL}, headers={**HEADERS, "x-alignment-strategy": "plain"})
        assert answer.status_code == 403
    assert not spy.prompts


async def test_a_tool_result_without_a_call_does_not_open_a_lock(http: httpx2.AsyncClient, spy: Spy) -> None:
    result = {"role": "tool", "tool_call_id": "c", "content": "done"}
    item = {"type": "function_call_output", "call_id": "c", "output": "done"}
    for path, body in (
        ("/v1/chat/completions", {"messages": [*MESSAGES, result]}),
        ("/v1/responses", {"input": [*MESSAGES, item]}),
    ):
        answer = await http.post(path, json={**body, "model": MODEL}, headers=HEADERS)
        assert answer.status_code == 200
        assert MARK in spy.prompts[-1]


async def test_nothing_generates_without_the_key(http: httpx2.AsyncClient, spy: Spy) -> None:
    for path, bodies in GENERATING.items():
        answer = await http.post(path, json={**bodies[0], "model": MODEL})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert not spy.prompts
