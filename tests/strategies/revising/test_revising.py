"""What all forms share: sampling, drafts that are left alone, budgets, traces."""

import difflib
from collections.abc import Mapping
from typing import Any

import pytest

from tests.strategies.doubles import ListEngine, context
from tests.strategies.revising.doubles import QUESTION, configured, revised
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.engine import Params


async def test_critiques_are_free_of_what_binds_the_answer() -> None:
    engine = ListEngine(["critique", "answer"])
    tools = [{"type": "function", "function": {"name": "f"}}]
    asked = Params(
        max_tokens=50,
        n=3,
        temperature=0.3,
        stop=("x",),
        allowed_token_ids=(1,),
        native={"tools": tools, "tool_choice": "auto", "response_format": {"type": "text"}},
    )
    await revised(configured(critique_tokens=40), QUESTION, "draft", context(engine, params=asked))
    critique, revision = engine.params
    assert (critique.max_tokens, critique.n, critique.stop, critique.allowed_token_ids) == (40, 1, (), ())
    assert (revision.max_tokens, revision.n, revision.stop, revision.allowed_token_ids) == (50, 1, ("x",), (1,))
    assert critique.temperature == revision.temperature == 0.3
    assert critique.native == {"tools": tools, "tool_choice": "none"}
    assert revision.native == {"tools": tools, "tool_choice": "none", "response_format": {"type": "text"}}


async def test_each_call_has_a_seed_of_its_own_where_the_request_has_one() -> None:
    async def seeds(seed: int | None) -> list[int | None]:
        engine = ListEngine(["text"] * 4)
        await revised(configured(rounds=2), QUESTION, "draft", context(engine, params=Params(seed=seed), seed=seed or 3))
        return [params.seed for params in engine.params]

    assert await seeds(None) == [None] * 4
    assert len(set(await seeds(7))) == 4
    assert await seeds(7) == await seeds(7)


CODE = "Here:\n```python\nprint('hello world, this is it')\n```"
JSON = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(("draft", "native", "reason"), [(CODE, {}, "code"), ("{}", JSON, "structured output")])
async def test_code_and_structured_drafts_are_left_alone(draft: str, native: Mapping[str, Any], reason: str) -> None:
    ctx = context(ListEngine([]), params=Params(native=native))
    assert await revised(configured(), QUESTION, draft, ctx) == draft
    assert (ctx.step.status, ctx.step.reason) == ("skipped", reason)


async def test_a_lock_leaves_nothing_alone() -> None:
    engine = ListEngine(["critique", "Better code:\nprint(1)"])
    assert await revised(configured().locked(), QUESTION, CODE, context(engine)) == "Better code:\nprint(1)"
    assert configured(code="skip").locked().code == "skip"


async def test_a_revision_that_breaks_the_form_is_none() -> None:
    ctx = context(ListEngine(["critique", "not json"]), params=Params(native=JSON))
    assert await revised(configured(structured="apply"), QUESTION, '{"a": 1}', ctx) == '{"a": 1}'
    assert ctx.step.details["rounds"][0]["reason"] == "not in the form that was asked for"


async def test_a_spent_budget_gives_the_answer_so_far() -> None:
    ctx = context(ListEngine(["critique", "second", "critique"]), budget=Budget(max_calls=3))
    assert await revised(configured(rounds=2), QUESTION, "first", ctx) == "second"
    assert ctx.step.status == "degraded"
    assert len(ctx.step.details["rounds"]) == 2
    assert ctx.trace.warnings


async def test_a_full_trace_shows_critique_and_diff() -> None:
    ctx = context(ListEngine(["too rude", "Please ask. Thank you."]))
    ctx.trace.level = "full"
    await revised(configured(), QUESTION, "Just ask. Thank you.", ctx)
    shown = ctx.step.full["rounds"][0]
    assert shown["critique"] == "too rude"
    assert shown["revision"] == "Please ask. Thank you."
    expected = difflib.unified_diff(
        ["Just ask.", "Thank you."], ["Please ask.", "Thank you."], "draft", "revision", lineterm="", n=1
    )
    assert shown["diff"].splitlines() == list(expected)
    assert "critique" not in ctx.step.details["rounds"][0]
