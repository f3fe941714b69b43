"""Revisers behind the service: aligners of every origin, what is accounted for, streams, an aligner that is down."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.server.services import asking, said
from trimtab.artifacts import FORMATS, write_correction
from trimtab.artifacts.errors import InvalidModel
from trimtab.server.assembly import build
from trimtab.server.config_file import ConfigFileError
from trimtab.server.service import Service
from trimtab.server.settings import Limits, ModelConfig, RoleConfig, ScriptedConfig, Settings, VllmConfig
from trimtab.strategies.core.errors import ConfigError, EngineUnavailable, MissingRole
from trimtab.strategies.prompts.critiques import PAIRS

MODEL = "double"


def scripted(*answers: str) -> ScriptedConfig:
    return ScriptedConfig(answers=answers)


async def serving(*drafts: str, corrections: tuple[str, ...] = (), **role: Any) -> Service:
    """A service whose policy and aligner answer from lists."""
    aligner = RoleConfig(engine=scripted(*corrections), **({"template": "edit_pair"} | role))
    roles: dict[Any, Any] = {"aligner": aligner} if corrections else {}
    settings = Settings(models={MODEL: ModelConfig(engine=scripted(*drafts))}, roles=roles)
    service = build(settings)
    await service.start()
    return service


async def streamed(service: Service, inbound: Any) -> list[dict[str, Any]]:
    return [json.loads(chunk) async for chunk in (await service.chat_stream(inbound)).events]


async def test_the_correction_is_the_answer_and_both_passes_are_counted() -> None:
    service = await serving("A rude answer.", corrections=("A kind answer.",))
    body = (await service.chat(asking("aligner"))).body
    assert said(body) == "A kind answer."
    account = body["alignment"]
    assert (account["status"], account["changed"], account["usage"]["calls"]) == ("applied", True, 2)
    by_role = account["usage"]["by_role"]
    assert body["usage"]["completion_tokens"] == sum(by_role[role]["completion_tokens"] for role in ("policy", "aligner"))
    assert account["usage"]["final"]["completion_tokens"] == by_role["aligner"]["completion_tokens"]


async def test_an_unchanged_answer_is_told_as_such() -> None:
    service = await serving("A kind answer.", corrections=("A kind answer.",))
    account = (await service.chat(asking("aligner"))).body["alignment"]
    assert (account["status"], account["changed"]) == ("applied", False)


@pytest.mark.parametrize("strategy", ["aligner", "critique_refine", ["critique_refine", "aligner"]])
@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"max_tokens": 40}, {"stop": ["kind"]}])
async def test_streamed_and_whole_answers_are_the_same(strategy: Any, fields: dict[str, Any]) -> None:
    def texts(chunks: list[dict[str, Any]]) -> dict[int, str]:
        found: dict[int, str] = {}
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            found[choice["index"]] = found.get(choice["index"], "") + (choice["delta"].get("content") or "")
        return found

    whole = (await (await serving("A text.", corrections=("It is kind now.",))).chat(asking(strategy, seed=3, **fields))).body
    service = await serving("A text.", corrections=("It is kind now.",))
    chunks = await streamed(service, asking(strategy, seed=3, **fields))
    assert texts(chunks) == {choice["index"]: choice["message"]["content"] for choice in whole["choices"]}
    assert len(whole["choices"]) == fields.get("n", 1)
    account = chunks[-1]["alignment"]
    assert account["usage"] == whole["alignment"]["usage"]


async def test_a_request_for_rounds_names_what_was_criticised() -> None:
    service = await serving("draft", "critique", "revision one", "critique", "revision two")
    strategy = {"strategy": {"kind": "critique_refine", "rounds": 2}, "trace": "full"}
    body = (await service.chat(asking(strategy, seed=1))).body
    assert said(body) == "revision two"
    step = body["alignment"]["steps"][-1]
    assert {round_["principle"] for round_ in step["rounds"]} <= {pair.name for pair in PAIRS}
    assert [round_["revision"] for round_ in step["rounds"]] == ["revision one", "revision two"]
    assert step["calls"] == 4


async def test_without_an_aligner_the_role_is_missing() -> None:
    with pytest.raises(MissingRole) as raised:
        await (await serving("draft")).chat(asking("aligner"))
    assert raised.value.code == "missing_role"


async def test_without_a_format_the_request_is_refused_before_a_draft_is_made() -> None:
    service = await serving("draft", corrections=("x",), template=None)
    with pytest.raises(ConfigError, match="question_answer"):
        await service.chat(asking("aligner"))
    body = (await service.chat(asking([{"kind": "aligner", "template": "edit_pair"}]))).body
    assert body["alignment"]["steps"][-1]["kept"] == "too short"


async def test_an_aligner_that_is_down_follows_the_policy() -> None:
    service = await serving("The draft.", corrections=("Better.",))
    await service.roles["aligner"].close()
    with pytest.raises(EngineUnavailable):
        await service.chat(asking("aligner"))
    for on_error, status in (("degrade", "degraded"), ("open", "failed")):
        body = (await service.chat(asking({"strategy": "aligner", "on_error": on_error}))).body
        assert said(body) == "The draft."
        assert body["alignment"]["status"] == status
        assert body["alignment"]["warnings"]


def adapter(folder: Path) -> Path:
    """A folder that names a rank, which is all that is read before a start."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}')
    return folder


def test_a_lent_adapter_is_asked_in_its_own_format(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "corrector")
    write_correction(folder, "edit_pair")
    engine = VllmConfig(lora={"corrector": str(folder)})
    models = {"smollm2-135m-instruct": ModelConfig(engine=engine)}
    service = build(Settings(models=models, roles={"aligner": "corrector", "judge": "smollm2-135m-instruct"}))
    policy = service.registry.models["smollm2-135m-instruct"].engine
    view = service.roles["aligner"]
    assert view is not policy
    assert getattr(view, "adapter", None) == "corrector"
    assert getattr(view, "correction", None) == FORMATS["edit_pair"]
    assert service.roles["judge"] is policy


async def test_a_lent_engine_is_started_and_closed_where_it_is_served() -> None:
    settings = Settings(models={MODEL: ModelConfig(engine=scripted("draft"))}, roles={"aligner": MODEL})
    service = build(settings)
    assert service.roles["aligner"] is service.registry.models[MODEL].engine


def test_a_broken_format_ends_the_start(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "corrector")
    (folder / "correction.json").write_text("{}")
    models = {"smollm2-135m-instruct": ModelConfig(engine=VllmConfig(lora={"corrector": str(folder)}))}
    with pytest.raises(InvalidModel, match=r"correction\.json"):
        build(Settings(models=models, roles={"aligner": "corrector"}))


def test_only_an_aligner_has_a_format() -> None:
    role = RoleConfig(engine=scripted(), template="edit_pair")
    with pytest.raises(ConfigFileError, match=r"roles\.judge\.template"):
        build(Settings(models={MODEL: ModelConfig(engine=scripted())}, roles={"judge": role}))


async def test_a_tool_call_is_not_revised() -> None:
    service = await serving("draft", corrections=("Better.",))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    for strategy in ("aligner", "critique_refine"):
        body = (await service.chat(asking(strategy, tools=tools, tool_choice="required"))).body
        assert body["choices"][0]["message"]["tool_calls"]
        assert body["alignment"]["steps"][-1]["reason"] == "tool call"


async def test_limits_count_the_rounds() -> None:
    service = build(Settings(models={MODEL: ModelConfig(engine=scripted())}, limits=Limits(alignment_calls=4)))
    with pytest.raises(ConfigError, match="alignment_calls"):
        await service.chat(asking([{"kind": "critique_refine", "rounds": 2}]))


async def test_the_final_usage_is_that_of_the_answer_given() -> None:
    """The scripted engine's tokens are bytes: a kept draft counts its own, a revision not the verdict's."""
    kept = await serving("The draft.", corrections=("",))
    assert (await kept.chat(asking("aligner"))).body["alignment"]["usage"]["final"]["completion_tokens"] == len(
        "The draft."
    ) + 1
    refined = await serving("The draft.", "bad\nVerdict: improve", "A longer revision.", "fine\nVerdict: keep")
    body = (await refined.chat(asking([{"kind": "critique_refine", "form": "self_refine", "rounds": 3}]))).body
    assert said(body) == "A longer revision."
    assert body["alignment"]["usage"]["final"]["completion_tokens"] == len("A longer revision.") + 1
    assert body["alignment"]["usage"]["calls"] == 4
