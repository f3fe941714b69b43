"""Keys, scopes and policies."""

import hashlib

import pytest
from pydantic import SecretStr

from tests.server.api.serving import scripted, serving
from trimtab.server.api.auth import Keyring
from trimtab.server.config_file import ConfigFileError
from trimtab.server.errors import Unauthenticated
from trimtab.server.settings import KeyConfig, PolicyConfig

APP = KeyConfig(name="app", key=SecretStr("app-secret"))
OPS = KeyConfig(name="ops", sha256=hashlib.sha256(b"ops-secret").hexdigest(), scopes=frozenset({"infer", "admin"}))


def test_each_key_is_its_owner() -> None:
    ring = Keyring((APP, OPS), ())
    assert ring.identify("Bearer app-secret").name == "app"
    assert ring.identify("bearer  ops-secret ").scopes == {"infer", "admin"}


@pytest.mark.parametrize(
    "header", [None, "", "app-secret", "Basic app-secret", "Bearer", "Bearer ", "Bearer app-secre", "Bearer é"]
)
def test_anything_else_is_nobody(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        Keyring((APP, OPS), ()).identify(header)


def test_without_keys_everybody_is_anonymous() -> None:
    caller = Keyring((), ()).identify(None)
    assert caller.name == "anonymous"
    assert caller.scopes == {"infer", "batch", "corpus", "admin"}


def test_the_first_matching_policy_holds_and_may_replace_scopes() -> None:
    ring = Keyring((APP, OPS), (PolicyConfig(key="ops", scopes=frozenset({"batch"})), PolicyConfig(key="*", lock="careful")))
    assert ring.identify("Bearer ops-secret").scopes == {"batch"}
    policy = ring.identify("Bearer app-secret").policy
    assert policy is not None
    assert policy.lock == "careful"
    assert Keyring((), (PolicyConfig(scopes=frozenset({"infer"})),)).identify(None).scopes == {"infer"}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ((KeyConfig(name="x"),), "exactly one"),
        ((KeyConfig(name="x", key=SecretStr("a"), sha256="0" * 64),), "exactly one"),
        ((KeyConfig(name="x", key=SecretStr(" ")),), "empty"),
        ((APP, APP), "twice"),
    ],
)
def test_keys_that_make_no_sense(keys: tuple[KeyConfig, ...], told: str) -> None:
    with pytest.raises(ConfigFileError, match=told):
        Keyring(keys, ())


@pytest.mark.parametrize("keys", [(), (APP,)])
def test_a_policy_for_nobody_is_an_error(keys: tuple[KeyConfig, ...]) -> None:
    """A misspelt name would be a key without its lock."""
    with pytest.raises(ConfigFileError, match="no key is called 'ap'"):
        Keyring(keys, (PolicyConfig(key="ap", lock="careful"),))


def test_a_policy_may_name_the_anonymous_caller_of_an_open_server() -> None:
    assert Keyring((), (PolicyConfig(key="anonymous", lock="careful"),)).identify(None).policy is not None


async def test_a_policy_names_the_models_on_every_route() -> None:
    settings = scripted(keys=[{"name": "app", "key": "app-secret"}], policies=[{"key": "app", "models": []}])
    async with serving(settings, key="app-secret") as server:
        for path, body in (
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
            ("/v1/completions", {"prompt": "x"}),
            ("/v1/responses", {"input": "x"}),
            ("/tokenize", {"prompt": "x"}),
            ("/detokenize", {"tokens": [1]}),
        ):
            answer = await server.http.post(path, json={"model": "org/test-model", **body})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "strategy_not_allowed")
        assert (await server.http.post("/v1/embeddings", json={"input": "x"})).status_code == 403
        assert (await server.http.get("/tokenizer_info")).status_code == 403


KEYED = scripted(keys=[{"name": "app", "key": "app-secret"}, {"name": "batcher", "key": "b", "scopes": ["batch"]}])


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/nonsense", "/docs", "/openapi.json", "/metrics", "/version", "/tokenizer_info"]
)
async def test_everything_but_health_needs_a_key(path: str) -> None:
    async with serving(KEYED, key="wrong") as server:
        answer = await server.http.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["x-request-id"]
    async with serving(KEYED, key="app-secret") as server:
        assert (await server.http.get(path)).status_code in {200, 404}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
async def test_health_is_open(path: str) -> None:
    async with serving(KEYED, key="wrong") as server:
        assert (await server.http.get(path)).status_code == 200


async def test_metrics_may_be_public() -> None:
    async with serving(scripted(keys=[{"name": "a", "key": "a"}], http={"metrics_public": True}), key="wrong") as server:
        assert (await server.http.get("/metrics")).status_code == 200
        assert (await server.http.get("/v1/models")).status_code == 401


async def test_a_scope_is_asked_for() -> None:
    async with serving(KEYED, key="b") as server:
        answer = await server.http.post("/v1/chat/completions", json={})
        assert answer.status_code == 403
        assert "'infer'" in answer.json()["error"]["message"]


async def test_no_key_is_shown_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(KEYED, key="app-secret") as server:
        texts = [(await server.http.get(path)).text for path in ("/openapi.json", "/metrics", "/v1/models")]
    assert "app-secret" not in "".join([*texts, caplog.text, repr(KEYED)])
