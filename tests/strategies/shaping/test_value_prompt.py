"""Value prompts: where principles stand, what outranks what, reasoning, tool turns."""

from typing import Literal

import pytest

from tests.strategies.doubles import ListEngine, context, said
from trimtab.server.engines.scripted.tokens import ScriptedTokenizer
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Conversation, Message
from trimtab.strategies.prompts.principles import PACKS, REASONING_OPENER, RULES_FIRST, RULES_LAST
from trimtab.strategies.shaping.value_prompt import ValuePromptConfig

WITH_SYSTEM = Conversation((Message("system", "You sell shoes."), Message("user", "hi")))


async def shaped(
    config: ValuePromptConfig, prompt: Conversation, engine: ListEngine | None = None, prefill: bool = True
) -> Conversation:
    ctx = context(engine or ListEngine([]), prefill=prefill, params=Params(n=3, max_tokens=9, stop=("x",)))
    result = await config.build().shape(prompt, ctx)
    assert isinstance(result, Conversation)
    return result


async def test_principles_come_first_and_outrank_the_callers_text() -> None:
    system = (await shaped(ValuePromptConfig(), WITH_SYSTEM)).messages[0]
    assert all(principle in system.text for principle in PACKS["helpful-honest-harmless"])
    assert system.text.endswith("You sell shoes.")
    assert RULES_FIRST in system.text


async def test_precedence_after() -> None:
    system = (await shaped(ValuePromptConfig(precedence="after"), WITH_SYSTEM)).messages[0]
    assert system.text.startswith("You sell shoes.")
    assert RULES_LAST in system.text


async def test_one_system_turn_only() -> None:
    prompt = await shaped(ValuePromptConfig(), WITH_SYSTEM)
    assert [message.role for message in prompt.messages] == ["system", "user"]
    assert [message.role for message in (await shaped(ValuePromptConfig(), said("hi"))).messages] == ["system", "user"]


async def test_own_principles_replace_the_pack() -> None:
    text = (await shaped(ValuePromptConfig(principles=("Rhyme.",)), said("hi"))).messages[0].text
    assert "1. Rhyme." in text
    assert PACKS["helpful-honest-harmless"][0] not in text


async def test_content_parts_of_the_system_turn_stay_parts() -> None:
    parts = ({"type": "text", "text": "You sell shoes."},)
    system = (await shaped(ValuePromptConfig(), Conversation((Message("developer", parts), Message("user", "hi"))))).messages[0]
    assert isinstance(system.content, tuple)
    assert len(system.content) == 2
    assert system.role == "developer"


async def test_the_whole_conversation_is_kept() -> None:
    turns = tuple(Message(role, role) for role in ("user", "assistant", "user", "user"))
    assert (await shaped(ValuePromptConfig(), Conversation(turns))).messages[1:] == turns


async def test_what_was_asked_is_remembered() -> None:
    assert (await shaped(ValuePromptConfig(), WITH_SYSTEM)).original == WITH_SYSTEM


async def test_a_tool_turn_is_skipped_unless_told_otherwise() -> None:
    turn = Conversation((Message("user", "2+2?"), Message("tool", "4", {"tool_call_id": "1"})))
    ctx = context(ListEngine([]))
    assert await ValuePromptConfig().build().shape(turn, ctx) == turn
    assert (ctx.step.status, ctx.step.reason) == ("skipped", "tool turn")
    assert (await shaped(ValuePromptConfig(tool_turns="apply"), turn)).messages[0].role == "system"


async def test_chain_of_thought_reasons_once_and_then_asks_for_the_answer() -> None:
    engine = ListEngine([" be kind."])
    prompt = await shaped(ValuePromptConfig(condition="chain_of_thought", reasoning_tokens=50), said("hi"), engine)
    assert engine.asked[0].prefill == REASONING_OPENER
    assert (engine.params[0].max_tokens, engine.params[0].n, engine.params[0].stop) == (50, 1, ())
    assert [message.role for message in prompt.messages] == ["system", "user", "assistant", "user"]
    assert prompt.messages[2].text == f"{REASONING_OPENER} be kind."
    assert prompt.prefill is None


async def test_without_prefill_the_reasoning_is_asked_for_and_the_step_is_degraded() -> None:
    engine = ListEngine(["thoughts"])
    ctx = context(engine, prefill=False)
    prompt = await ValuePromptConfig(condition="chain_of_thought").build().shape(said("hi"), ctx)
    assert isinstance(prompt, Conversation)
    assert [message.role for message in prompt.messages] == ["system", "user", "user", "assistant", "user"]
    assert ctx.step.status == "degraded"


async def test_reasoning_is_free_of_what_binds_the_answer() -> None:
    engine = ListEngine(["because"])
    held = Params(
        n=3,
        temperature=0.5,
        seed=7,
        stop=("x",),
        stop_token_ids=(1,),
        allowed_token_ids=(2,),
        logit_bias={3: 1.0},
        ignore_eos=True,
    )
    await ValuePromptConfig(condition="chain_of_thought").build().shape(said("hi"), context(engine, params=held))
    assert engine.params == [Params(max_tokens=256, temperature=0.5, seed=7)]


async def test_the_question_alone_is_the_control() -> None:
    ctx = context(ListEngine([]))
    assert await ValuePromptConfig(condition="question").build().shape(WITH_SYSTEM, ctx) == WITH_SYSTEM
    assert ctx.step.details == {"condition": "question"}


async def test_principles_behind_the_question() -> None:
    talk = Conversation(
        (Message("user", "hi"), Message("assistant", "Hello."), Message("user", "and?"), Message("assistant", "x"))
    )
    prompt = await shaped(ValuePromptConfig(placement="user", principles=("Rhyme.",)), talk)
    assert [message.role for message in prompt.messages] == ["user", "assistant", "user", "assistant"]
    assert prompt.messages[2].text.startswith("and?\n\n")
    assert "1. Rhyme." in prompt.messages[2].text
    assert prompt.original == talk
    nothing_asked = Conversation((Message("assistant", "x"),))
    assert (await shaped(ValuePromptConfig(placement="user"), nothing_asked)).messages[0].role == "system"


@pytest.mark.parametrize("condition", ["question", "instruction", "chain_of_thought"])
async def test_a_lead_in_is_the_tail_of_the_prompt(condition: Literal["question", "instruction", "chain_of_thought"]) -> None:
    config = ValuePromptConfig(condition=condition, answer_lead_in="My choice is (")
    prompt = await shaped(config, said("hi"), ListEngine([" be kind."]))
    assert prompt.prefill == "My choice is ("
    ids = ScriptedTokenizer().chat(prompt)
    assert ids[-len("My choice is (") :] == list(b"My choice is (")


async def test_a_beginning_of_the_requests_own_wins_over_the_lead_in() -> None:
    begun = Conversation((Message("user", "hi"),), prefill="Well,")
    assert (await shaped(ValuePromptConfig(answer_lead_in="It is"), begun)).prefill == "Well,"


async def test_an_engine_that_cannot_continue_leaves_the_lead_in_out() -> None:
    ctx = context(ListEngine([]), prefill=False)
    prompt = await ValuePromptConfig(answer_lead_in="It is").build().shape(said("hi"), ctx)
    assert isinstance(prompt, Conversation)
    assert prompt.prefill is None
    assert ctx.step.status == "degraded"


async def test_reasoning_is_one_call_of_256_tokens_whose_prompt_begins_the_second_one() -> None:
    """The answer's own call is the second: its prompt has the first one's ids as its beginning, so their keys are reused."""
    engine = ListEngine([" fairness means this."])
    final = await shaped(ValuePromptConfig(condition="chain_of_thought"), said("hi"), engine)
    assert len(engine.asked) == 1
    assert engine.params[0].max_tokens == 256
    first, second = (ScriptedTokenizer().chat(prompt) for prompt in (engine.asked[0], final))
    assert second[: len(first)] == first
    assert bytes(first[-len(REASONING_OPENER.encode()) :]).decode() == REASONING_OPENER


def test_what_it_needs_of_an_engine() -> None:
    assert ValuePromptConfig().needs() == frozenset()
    assert ValuePromptConfig(condition="chain_of_thought").needs() == {"messages"}
