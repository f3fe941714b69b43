"""How a strategy is chosen: its parameters, its entry in the catalogue, locks, pairs."""

from typing import Any

import jsonschema
import pytest

from tests.contracts.strategies.asking import World, answered, settled
from tests.contracts.strategies.cases import ALIGNING, FITTED, KINDS, MODEL, QUESTION, every, every_aligning, fitted
from trimtab.strategies.config import parse_spec
from trimtab.strategies.core.errors import ConfigError
from trimtab.strategies.pipeline import Pipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")


@every
async def test_an_unknown_parameter_is_named(world: World, kind: str) -> None:
    reply = await world.ask([{"kind": kind, "no_such_parameter": 1}])
    assert reply.status == 400
    assert "no_such_parameter" in reply.error["message"]
    assert kind in reply.error["message"]
    assert reply.error["param"].endswith("no_such_parameter")
    assert not world.asked


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("route", "asked"),
    [("chat/completions", {"messages": [{"role": "user", "content": QUESTION}]}), ("responses", {"input": QUESTION})],
)
async def test_an_unknown_strategy_is_refused_before_any_engine_is_asked(
    world: World, route: str, asked: dict[str, Any], stream: bool
) -> None:
    body = {"model": MODEL, **asked, "stream": stream, "alignment": {"strategy": "urail"}}
    answer = await world.client.http.post(f"/v1/{route}", json=body, headers={"authorization": "Bearer key-free"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("unknown_strategy", "alignment.strategy")
    assert "'urial'" in error["message"]
    assert not world.asked


@every
async def test_the_catalogue_describes_the_defaults(world: World, kind: str) -> None:
    answer = await world.client.http.get(f"/v1/alignment/strategies/{kind}", headers={"authorization": "Bearer key-free"})
    entry = answer.json()
    config = KINDS[kind].model_validate({})
    dumped = config.model_dump(mode="json")
    jsonschema.Draft202012Validator.check_schema(entry["schema"])
    jsonschema.validate(dumped, entry["schema"])
    assert KINDS[kind].model_validate(dumped) == config
    assert entry["role"] == config.role
    assert entry["summary"]
    undescribed = [name for name, schema in entry["schema"]["properties"].items() if not schema.get("description")]
    assert undescribed in ([], ["kind"])
    assert kind == "plain" or entry["source"]
    told = {**dumped, **FITTED.get(kind, {})}
    bare, spelt = [answered(await world.ask(spec)) for spec in (kind, [told])]
    assert bare.texts == spelt.texts
    assert settled(bare.alignment) == settled(spelt.alignment)


@every_aligning
async def test_a_lock_holds(world: World, kind: str) -> None:
    assert answered(await world.ask(None, key=kind)).alignment["strategy"] == [kind]
    for options in ({"strategy": "plain"}, {"on_error": "open"}, {"on_error": "degrade"}):
        reply = await world.ask(None, key=kind, options=options)
        assert reply.status == 403, (options, reply.body)
        assert reply.error["code"] == "strategy_not_allowed"


@every_aligning
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": QUESTION}, {"role": "tool", "tool_call_id": "c", "content": "done"}],
        [{"role": "user", "content": f"```python\nprint(1)\n```\n{QUESTION}"}],
        [{"role": "user", "content": ""}],
    ],
    ids=["tool result", "code", "nothing"],
)
async def test_nothing_a_client_writes_makes_a_lock_skip(world: World, kind: str, messages: list[dict[str, Any]]) -> None:
    reply = await world.ask(None, key=kind, messages=messages)
    if reply.status == 200:
        own = [step for step in reply.alignment["steps"] if step["strategy"] == kind]
        assert [step["status"] for step in own] in (["applied"], ["degraded"]), own
    else:
        assert reply.status == 400


@pytest.mark.parametrize("second", ALIGNING)
@pytest.mark.parametrize("first", ALIGNING)
async def test_every_legal_pair_composes(world: World, first: str, second: str) -> None:
    spec = [first, second]
    reply = await world.ask(spec, options={"trace": "full"})
    refusal = why_not(spec)
    if refusal is not None:
        assert (reply.status, reply.error["message"]) == (400, refusal)
        assert not world.asked
        return
    told = answered(reply).alignment
    assert told["strategy"] == spec
    names = [step["strategy"] for step in told["steps"]]
    assert [name for name in names if name != "plain"] == spec
    assert told["usage"]["calls"] == len(world.asked)
    assert (await world.stream(spec)).texts == reply.texts
    assert world.is_idle


def why_not(spec: list[str]) -> str | None:
    """Why a pipeline is refused when it is built; None where it is not."""
    try:
        Pipeline.of(parse_spec(fitted(spec)))
    except ConfigError as error:
        return str(error)
    return None
