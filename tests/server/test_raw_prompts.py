"""Pipelines that render raw prompts, through the service: streamed and whole answers, refusals, and what does not fit."""

import json
from typing import Any

import pytest

from tests.server.services import MODEL, Spy, asking, said, service_of
from trimtab.server.engines.scripted import ScriptedEngine
from trimtab.server.service import Service
from trimtab.server.settings import ScriptedConfig
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused

ANSWERS = ("Try:\n```sh\nls\n```\nDone.\n```\n\n# Query:\n```\nmore\n", "Plain.\n```\n\n# Query:")


async def ready(script: Spy | None = None, *, window: int = 65536) -> Service:
    engine = ScriptedEngine(ScriptedConfig(max_model_len=window), name=MODEL, script=script)
    await engine.start()
    return service_of(engine=engine)


async def streamed(service: Service, inbound: Any) -> tuple[dict[int, str], dict[str, Any]]:
    """The text of each choice, and the alignment of the last chunk."""
    texts: dict[int, str] = {}
    last: dict[str, Any] = {}
    answer = await service.chat_stream(inbound)
    async for event in answer.events:
        last = json.loads(event)
        for choice in last["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return texts, last["alignment"]


async def test_stream_and_whole_answer_are_equal_for_each_choice() -> None:
    whole = (await (await ready(Spy(ANSWERS))).chat(asking("urial", n=2))).body
    texts, alignment = await streamed(await ready(Spy(ANSWERS)), asking("urial", n=2))
    assert texts == {0: said(whole, 0), 1: said(whole, 1)} == {0: "Try:\n```sh\nls\n```\nDone.", 1: "Plain."}
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", "stop"]
    assert alignment["status"] == "applied"
    assert [step["strategy"] for step in alignment["steps"]] == ["urial", "plain"]
    assert alignment["usage"]["calls"] == 1
    assert whole["usage"]["completion_tokens"] > 0


async def test_the_trace_names_the_head_and_shows_the_rest_on_demand() -> None:
    service = await ready(Spy(ANSWERS))
    summary = (await service.chat(asking("urial"))).body["alignment"]["steps"][0]
    assert (summary["version"], summary["k"], len(summary["sha256"]), "prompt" in summary) == ("1", 3, 64, False)
    full = (await service.chat(asking({"strategy": "urial", "trace": "full"}))).body["alignment"]["steps"][0]
    assert full["prompt"] == "\n# Query:\n```\nhello there\n```\n\n# Answer:\n```\n"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"messages": [{"role": "tool", "tool_call_id": "c", "content": "4"}]}, "messages.0"),
    ],
)
async def test_what_needs_a_chat_template_is_refused_by_the_strategys_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefused, match="urial") as refused:
        await (await ready()).chat(asking("urial", **fields))
    assert refused.value.param == param


async def test_a_prompt_past_the_window_names_what_the_strategy_added() -> None:
    """A token a byte: 11 are the user's own, the rest of the prompt is urial's."""
    service = await ready(window=1000)
    with pytest.raises(ContextLengthExceeded, match=r"\(\d{4} of the prompt's tokens were added by urial\)"):
        await service.chat(asking("urial"))
