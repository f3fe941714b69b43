"""What a conversation may hold: system turns, parts, tools, schemas, begun answers, and texts that attack."""

import json
from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest

from tests.contracts.strategies.asking import World, answered
from tests.contracts.strategies.cases import DELIMITERS, HOSTILE, MODEL, QUESTION, every, every_aligning
from tests.contracts.strategies.doubles import Always, Asked
from trimtab.server.engines.scripted.script import GivenAnswers
from trimtab.strategies.core.messages import Conversation, Text

pytestmark = pytest.mark.asyncio(loop_scope="session")


@every
async def test_a_system_message_and_content_parts_are_heard(world: World, kind: str) -> None:
    parts = [{"type": "text", "text": "First part. "}, {"type": "text", "text": "Second part."}]
    messages = [{"role": "system", "content": "Speak like a gardener."}, {"role": "user", "content": parts}]
    answered(await world.ask(kind, messages=messages))
    for words in ("Speak like a gardener.", "First part.", "Second part."):
        assert any(words in shown(world, asked) for asked in world.asked), words


@every
async def test_a_tool_turn_is_answered_or_refused_by_name(world: World, kind: str) -> None:
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [a_call("weather", {"town": "Bonn"})]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It is freezing."},
    ]
    reply = await world.ask(kind, messages=messages)
    if reply.status == 400:
        assert reply.error["param"].startswith("messages")
        assert kind in reply.error["message"]
        return
    assert answered(reply).texts[0]
    assert any("It is freezing." in shown(world, asked) for asked in world.asked)


@every
async def test_a_tool_call_leaves_as_it_came_or_is_refused(world: World, kind: str) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    asked: dict[str, Any] = {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    world.says(GivenAnswers(("alpha beta gamma.",)))
    reply = await world.ask(kind, **asked)
    if reply.status != 200:
        assert reply.status == 400, reply.body
        assert reply.error["param"] in {"tools", "tool_choice"}
        assert kind in reply.error["message"]
        return
    (call,) = reply.body["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": "{}"}
    assert reply.finishes == ["tool_calls"]
    stream = await world.stream(kind, **asked)
    assert [
        choice["delta"]["tool_calls"][0]["function"]["name"] for choice in stream.choices if "tool_calls" in choice["delta"]
    ]


@every
async def test_a_schema_is_honoured_or_refused(world: World, kind: str) -> None:
    schema = {"type": "object", "properties": {"tip": {"type": "string"}}, "required": ["tip"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "tip", "strict": True, "schema": schema}}
    world.says(GivenAnswers(("alpha beta gamma.",)))
    reply = await world.ask(kind, response_format=wanted, max_tokens=200)
    if reply.status == 400:
        assert reply.error["param"] == "response_format"
        assert kind in reply.error["message"]
        return
    jsonschema.validate(json.loads(answered(reply).texts[0]), schema)


@every
async def test_a_begun_answer_is_continued_or_refused(world: World, kind: str) -> None:
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Dear gardener,"}]
    reply = await world.ask(kind, messages=messages, continue_final_message=True, add_generation_prompt=False)
    if reply.status == 400:
        assert reply.error["param"] == "continue_final_message"
        return
    answered(reply)
    assert any(
        asked.prompt.prefill == "Dear gardener," or asked.prompt.messages[-1].text == "Dear gardener,"
        if isinstance(asked.prompt, Conversation)
        else shown(world, asked).endswith("Dear gardener,")
        for asked in world.asked
    )


@every_aligning
async def test_a_raw_prompt_is_refused_by_name(world: World, kind: str) -> None:
    body = {"model": MODEL, "prompt": QUESTION, "alignment": {"strategy": kind}}
    answer = await world.client.http.post("/v1/completions", json=body, headers={"authorization": "Bearer key-free"})
    assert answer.status_code == 400
    assert kind in answer.json()["error"]["message"]
    assert not world.asked


@every
async def test_a_hostile_text_forges_no_turn(world: World, kind: str) -> None:
    world.says(Always("alpha beta gamma."))
    places = []
    for text, words in (("one two", ("one two",)), (HOSTILE, ("second query", "third query", "eighth", "thirteenth"))):
        world.policy.asked.clear()
        world.aligner.asked.clear()
        answered(await world.ask(kind, messages=[{"role": "user", "content": text}], max_tokens=60))
        places.append({place(asked, words) for asked in world.asked})
        assert not any(word in literal(asked) for asked in world.asked for word in words)
    assert places[1] <= places[0]


@every
async def test_a_hostile_text_neither_ends_nor_enters_the_answer(world: World, kind: str) -> None:
    world.says(Always("alpha beta gamma."))
    messages = [
        {"role": "user", "content": HOSTILE},
        {"role": "assistant", "content": f"Earlier: {HOSTILE}"},
        {"role": "user", "content": f"{HOSTILE}\n{QUESTION}"},
    ]
    reply = answered(await world.ask(kind, messages=messages, max_tokens=60))
    assert reply.texts[0].strip().endswith("alpha beta gamma.")
    assert reply.finishes == ["stop"]
    assert not [mark for mark in DELIMITERS if mark in reply.texts[0]]
    assert (await world.stream(kind, messages=messages, max_tokens=60)).texts == reply.texts


def a_call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def shown(world: World, asked: Asked) -> str:
    """The prompt of a call as text."""
    if isinstance(asked.prompt, Conversation):
        return "\n".join(message.text for message in asked.prompt.messages)
    return asked.prompt.text if isinstance(asked.prompt, Text) else world.policy.decode(asked.prompt)


def literal(asked: Asked) -> str:
    """What of a raw prompt may hold control tokens."""
    if not isinstance(asked.prompt, Text):
        return ""
    return "\n".join(segment.text for segment in asked.prompt.segments if segment.kind == "literal")


def place(asked: Asked, words: Sequence[str]) -> Any:
    """Where a prompt holds the user's text, and that all of it is there; of token ids, which control tokens they hold."""
    match asked.prompt:
        case Conversation(messages=messages):
            parts = [(message.role, message.text) for message in messages]
        case Text(segments=segments):
            parts = [(segment.kind, segment.text) for segment in segments]
        case ids:
            return asked.port, tuple(token for token in ids if token >= 256)
    return asked.port, tuple((name, all(w in text for w in words)) for name, text in parts if any(w in text for w in words))
