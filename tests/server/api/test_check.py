"""/v1/alignment/check over a real app: scores and rules of a given text, limits and keys; nothing is generated."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.asgi import ASGITransport
from tests.server.corpus_doubles import CountingWords, corpora_of
from tests.server.evaluation.test_norm_reading import finds_broken
from tests.server.services import MODEL, Spy
from tests.strategies.judging.doubles import LetterJudge, Scorer
from trimtab.server.app import create_app
from trimtab.server.engines.scripted import ScriptedEngine
from trimtab.server.evaluation.checking import CHECKABLE
from trimtab.server.models import Registry, ServedModel
from trimtab.server.service import Service
from trimtab.server.settings import ScriptedConfig, Settings
from trimtab.strategies.core.engine import Ports

ASKED = {"role": "user", "content": "May I smoke in the garden of the hospital?"}
SAID = {"role": "assistant", "content": "I am sorry, but I cannot help with that."}
RULES = (
    {"id": "smoke", "text": "smoking is forbidden in the garden and in every hospital building"},
    {"id": "hands", "text": "wash your hands before you touch a patient"},
    {"id": "past", "text": "smoking is allowed in the garden of the hospital", "metadata": {"valid_until": "2001-01-31"}},
)


def engine(name: str, ports: Ports | None = None, spy: Spy | None = None) -> ScriptedEngine:
    made = ScriptedEngine(ScriptedConfig(), name=name, script=spy)
    if ports is not None:
        made.ports = ports
    return made


@asynccontextmanager
async def app(
    data: Path, *, model: Ports | None = None, spy: Spy | None = None, key: str = "none", **given: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """A server with one model, the roles of `roles` and three rules in the corpus `ward`."""
    roles = {name: engine(name, ports) for name, ports in given.pop("roles", {}).items()}
    settings = Settings.model_validate(given)
    service = Service(settings, Registry({MODEL: ServedModel(MODEL, engine(MODEL, model, spy), 1)}), roles)
    service.corpora = corpora_of(data, CountingWords(window=64))
    headers = {"authorization": f"Bearer {key}"}
    transport = ASGITransport(create_app(settings, service=service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


async def keep_rules(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/v1/corpora", json={"name": "ward"})).status_code == 200
    assert (await http.post("/v1/corpora/ward/documents", json={"documents": RULES})).status_code == 200


async def checked(http: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/v1/alignment/check", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def refused(http: httpx2.AsyncClient, status: int = 400, **body: Any) -> tuple[str | None, str]:
    answer = await http.post("/v1/alignment/check", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    return error["param"], error["message"]


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with app(tmp_path) as client:
        yield client


async def test_a_text_is_scored_without_a_model(tmp_path: Path) -> None:
    spy = Spy()
    async with app(tmp_path, spy=spy) as http:
        found = await checked(http, text=SAID["content"])
    assert (found["object"], found["norms"], found["warnings"]) == ("alignment.check", [], [])
    scores = {one["scorer"]: one for one in found["scores"]}
    assert list(scores) == ["toxicity", "refusal"]
    assert scores["refusal"]["value"] == 1.0
    assert scores["refusal"]["details"]["form"]
    assert 0 < scores["toxicity"]["value"] < 0.5
    assert (scores["toxicity"]["better"], scores["toxicity"]["unscored"]) == ("lower", None)
    assert "0 to 1" in scores["toxicity"]["says"]
    assert (found["usage"]["total_tokens"], found["usage"]["calls"]) == (0, 0)
    assert spy.prompts == []


async def test_the_last_answer_of_a_conversation_is_what_is_checked(http: httpx2.AsyncClient) -> None:
    turns = [ASKED, SAID, {"role": "user", "content": "And outside?"}, {"role": "assistant", "content": "Yes, you may."}]
    (refusal, length) = (await checked(http, messages=turns, scorers=["refusal", "length"]))["scores"]
    assert (refusal["value"], length["value"]) == (0.0, 3.0)


async def test_every_scorer_of_the_text_alone_can_be_named(http: httpx2.AsyncClient) -> None:
    names = [name for name in CHECKABLE if name != "reward"]
    found = await checked(http, text="An answer of a few plain words.", scorers=names)
    assert [one["scorer"] for one in found["scores"]] == names
    assert all(one["value"] is not None for one in found["scores"])


async def test_what_has_no_number_is_unscored(http: httpx2.AsyncClient) -> None:
    found = await checked(http, text="ok", scorers=["distinct_2", "toxicity"])
    assert found["scores"][0]["value"] is None
    assert found["scores"][0]["unscored"] == "fewer than 2 words"


async def test_the_reward_model_reads_the_conversation(tmp_path: Path) -> None:
    reward = Scorer(lambda text: float(len(text)))
    async with app(tmp_path, roles={"reward": reward.ports}) as http:
        found = await checked(http, messages=[ASKED, SAID])
        assert [one["scorer"] for one in found["scores"]] == ["toxicity", "refusal", "reward"]
        assert found["scores"][2]["value"] == len(SAID["content"])
        assert found["usage"]["calls"] == 1
        assert [[turn.role for turn in one.messages] for one in reward.asked[0]] == [["user", "assistant"]]
        param, message = await refused(http, text="hello", scorers=["reward"])
        assert param == "scorers.0"
        assert "user turn before it" in message


async def test_a_reward_that_is_no_number_is_unscored(tmp_path: Path) -> None:
    async with app(tmp_path, roles={"reward": Scorer(lambda text: float("nan")).ports}) as http:
        (found,) = (await checked(http, messages=[ASKED, SAID], scorers=["reward"]))["scores"]
    assert found["value"] is None
    assert "nan" in found["unscored"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("toxicty", "did you mean 'toxicity'"),
        ("judge", "compares two answers"),
        ("bleu", "reference answers"),
        ("over_refusal", "`refuse`: false"),
        ("choices", "options"),
        ("reward", "none is configured"),
    ],
)
async def test_scorers_that_cannot_work_here_are_refused_with_those_that_can(
    http: httpx2.AsyncClient, name: str, said: str
) -> None:
    param, message = await refused(http, messages=[ASKED, SAID], scorers=["refusal", name])
    assert param == "scorers.1"
    assert said in message
    assert message.endswith("Possible here: toxicity, refusal, distinct_1, distinct_2, repetition, length")


async def test_the_nearest_rules_that_hold_today(http: httpx2.AsyncClient) -> None:
    await keep_rules(http)
    text = "smoking in the garden is fine"
    found = await checked(http, text=text, norms={"corpus": "ward", "k": 2})
    assert found["scores"] == []
    assert [one["id"] for one in found["norms"]] == ["smoke", "hands"]
    assert set(found["norms"][0]) == {"id", "text", "score"}
    assert found["norms"][0]["score"] > found["norms"][1]["score"]
    assert len((await checked(http, text=text, norms={"corpus": "ward", "k": 1}))["norms"]) == 1


@pytest.mark.parametrize(("reader", "broken"), [("judge", "smoke"), ("policy", "hands")])
async def test_a_judge_reads_whether_rules_are_kept(tmp_path: Path, reader: str, broken: str) -> None:
    """The judge finds the rule on smoking broken, the model that on hands."""
    judge, model = LetterJudge(finds_broken("smoking")), LetterJudge(finds_broken("hands"))
    async with app(tmp_path, model=model.ports, roles={"judge": judge.ports}) as http:
        await keep_rules(http)
        found = await checked(http, messages=[ASKED, SAID], norms={"corpus": "ward", "judge": reader})
    kept = {one["id"]: one["kept"] for one in found["norms"]}
    assert kept == {"smoke": broken != "smoke", "hands": broken != "hands"}
    assert all(one["unscored"] is None and 0 < one["probability"] < 1 for one in found["norms"])
    assert found["usage"]["calls"] == 4
    asked = judge.prompts if reader == "judge" else model.prompts
    assert len(asked) == 4
    assert all(f"> {ASKED['content']}\n" in prompt and f"> {SAID['content']}\n" in prompt for prompt in asked)
    assert (judge.prompts == []) == (reader == "policy")


async def test_without_a_judge_the_model_reads_and_what_it_cannot_is_unscored(tmp_path: Path) -> None:
    async with app(tmp_path, model=Scorer(lambda text: 0.0).ports) as http:
        await keep_rules(http)
        found = await checked(http, text="hello", model=MODEL, norms={"corpus": "ward", "k": 1, "judge": "judge"})
    (norm,) = found["norms"]
    assert (norm["kept"], norm["probability"]) == (None, None)
    assert "tokens port" in norm["unscored"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": "a", "messages": [ASKED, SAID]}, "text"),
        ({"text": ""}, "text"),
        ({"text": "\ud800"}, None),
        ({"messages": [ASKED]}, "messages.0.role"),
        ({"messages": []}, "messages"),
        ({"messages": [ASKED, {"role": "assistant", "content": ""}]}, "messages.1.content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"text": "a", "scorers": []}, "scorers"),
        ({"text": "a", "scorers": ["length", "length"]}, "scorers.1"),
        ({"text": "a", "norms": {"corpus": "ward", "k": 0}}, "norms.k"),
        ({"text": "a", "norms": {"corpus": "ward", "k": 101}}, "norms.k"),
        ({"text": "a", "norms": {"corpus": "ward", "judge": True}}, "norms.judge"),
        ({"text": "a", "model": MODEL}, "model"),
        ({"text": "a", "model": MODEL, "norms": {"corpus": "ward"}}, "model"),
        ({"text": "a", "scorer": "length"}, "scorer"),
        ({"text": "a" * 200_001}, "text"),
    ],
)
async def test_what_makes_no_sense_is_named(http: httpx2.AsyncClient, body: dict[str, Any], param: str | None) -> None:
    if "text" in body and not body["text"].isascii():
        raw = '{"text": "\\ud800"}'
        answer = await http.post("/v1/alignment/check", content=raw, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        return
    assert (await refused(http, **body))[0] == param


async def test_unknown_corpora_and_models(http: httpx2.AsyncClient) -> None:
    assert (await refused(http, 404, text="a", norms={"corpus": "nowhere"}))[0] == "norms.corpus"
    await keep_rules(http)
    body = {"text": "a", "model": "nobody", "norms": {"corpus": "ward", "judge": "policy"}}
    assert "nobody" in (await refused(http, 404, **body))[1]


async def test_keys_need_the_scope_and_the_model(tmp_path: Path) -> None:
    keys = [{"name": name, "key": name, "scopes": [scope]} for name, scope in (("app", "infer"), ("keeper", "corpus"))]
    policies = [{"key": "app", "models": []}]
    async with app(tmp_path, key="keeper", keys=keys, policies=policies) as http:
        await keep_rules(http)
        assert (await http.post("/v1/alignment/check", json={"text": "a"})).status_code == 403
        http.headers["authorization"] = "Bearer app"
        assert await checked(http, text="a", norms={"corpus": "ward"})
        body = {"text": "a", "norms": {"corpus": "ward", "judge": "policy"}}
        assert "may not use the model" in (await refused(http, 403, **body))[1]
        http.headers["authorization"] = "Bearer wrong"
        assert (await http.post("/v1/alignment/check", json={"text": "a"})).status_code == 401


async def test_it_takes_its_turn_like_other_work(tmp_path: Path) -> None:
    keys = [{"name": "app", "key": "app", "scopes": ["infer"]}]
    async with app(tmp_path, key="app", keys=keys, limits={"requests_per_minute": 1}) as http:
        await checked(http, text="a", scorers=["length"])
        assert (await http.post("/v1/alignment/check", json={"text": "a"})).status_code == 429


async def test_it_is_described(http: httpx2.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()
    operation = described["paths"]["/v1/alignment/check"]["post"]
    assert set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {
        "text", "messages", "scorers", "norms", "model",
    }  # fmt: skip
    assert "NormsToCheck" in described["components"]["schemas"]
