"""/v1/responses through openai-python: create, stream, parse, tools, and the pipeline behind it."""

from typing import Any

import openai
import pytest
from openai.types.responses import ResponseCompletedEvent
from pydantic import BaseModel

from tests.server.api.serving import scripted, serving

MODEL = "org/test-model"
CLOCK: Any = {
    "type": "function",
    "name": "clock",
    "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
    "strict": True,
}


class City(BaseModel):
    name: str
    people: int


async def test_create() -> None:
    async with serving(scripted("Hello there")) as server:
        response = await server.openai.responses.create(model=MODEL, input="Hi", instructions="Be kind.", metadata={"a": "b"})
    assert response.output_text == "Hello there"
    assert (response.object, response.status, response.model) == ("response", "completed", MODEL)
    assert response.id.startswith("resp_")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.model_extra is not None
    assert response.model_extra["store"] is False
    assert "alignment" not in response.model_extra


async def test_usage_is_that_of_the_chat_it_stands_for() -> None:
    async with serving(scripted("Hello")) as server:
        response = await server.openai.responses.create(model=MODEL, input="Hi", instructions="Be kind.")
        chat = await server.openai.chat.completions.create(
            model=MODEL, messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
        )
    assert response.usage is not None
    assert chat.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
    )


async def test_a_stream_is_the_same_answer_in_pieces() -> None:
    async with serving(scripted("alpha beta gamma")) as server:
        manager = server.openai.responses.stream(model=MODEL, input="Hi")
        async with manager as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == final.output_text == "alpha beta gamma"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert isinstance(events[-1], ResponseCompletedEvent)
    assert final.usage is not None
    assert final.usage.output_tokens > 0


async def test_events_carry_their_names_and_there_is_no_done_marker() -> None:
    async with serving(scripted("Hello")) as server:
        answer = await server.http.post("/v1/responses", json={"model": MODEL, "input": "Hi", "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [frame for frame in answer.text.split("\n\n") if frame]
    assert frames[0].startswith('event: response.created\ndata: {"type":"response.created"')
    assert frames[-1].startswith("event: response.completed\n")


async def test_streams_are_counted() -> None:
    async with serving(scripted("Hello")) as server:
        async with server.openai.responses.stream(model=MODEL, input="Hi") as stream:
            final = await stream.get_final_response()
        metrics = (await server.http.get("/metrics")).text
    assert final.usage is not None
    assert f'trimtab_completion_tokens_total{{model="{MODEL}"}} {float(final.usage.output_tokens)}' in metrics


async def test_parse() -> None:
    async with serving(scripted()) as server:
        response = await server.openai.responses.parse(model=MODEL, input="Where?", text_format=City)
    assert response.output_parsed == City(name="a", people=0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_round_trip(stream: bool) -> None:
    async with serving(scripted("It is noon.")) as server:
        choice: Any = {"type": "function", "name": "clock"}
        if stream:
            async with server.openai.responses.stream(model=MODEL, input="Time?", tools=[CLOCK], tool_choice=choice) as events:
                asked = await events.get_final_response()
        else:
            asked = await server.openai.responses.create(model=MODEL, input="Time?", tools=[CLOCK], tool_choice=choice)  # type: ignore[assignment]
        (call,) = asked.output
        assert call.type == "function_call"
        assert (call.name, call.arguments) == ("clock", '{"zone": "a"}')
        items: Any = [
            {"role": "user", "content": "Time?"},
            call.model_dump(exclude_none=True, exclude={"parsed_arguments"}),
            {"type": "function_call_output", "call_id": call.call_id, "output": "12:00"},
        ]
        answer = await server.openai.responses.create(model=MODEL, input=items, tools=[CLOCK])
    assert answer.output_text == "It is noon."


async def test_an_answer_cut_at_its_length_is_incomplete() -> None:
    async with serving(scripted("alpha beta gamma")) as server:
        response = await server.openai.responses.create(model=MODEL, input="Hi", max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


async def test_log_probabilities() -> None:
    async with serving(scripted("ab")) as server:
        response = await server.openai.responses.create(
            model=MODEL, input="Hi", top_logprobs=2, include=["message.output_text.logprobs"]
        )
    part = response.output[0].content[0]  # type: ignore[union-attr, index]
    assert part.logprobs  # type: ignore[union-attr]
    assert len(part.logprobs[0].top_logprobs) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_pipeline_runs_and_explains_itself(stream: bool) -> None:
    body: Any = {"alignment": {"strategy": "value_prompt"}}
    async with serving(scripted("Hello")) as server:
        if stream:
            async with server.openai.responses.stream(model=MODEL, input="Hi", extra_body=body) as events:
                response: Any = await events.get_final_response()
        else:
            response = await server.openai.responses.create(model=MODEL, input="Hi", extra_body=body)
        plain = await server.openai.responses.create(model=MODEL, input="Hi")
    assert response.alignment["status"] == "applied"
    assert response.alignment["strategy"] == ["value_prompt"]
    assert plain.usage is not None
    assert response.usage.input_tokens > plain.usage.input_tokens


async def test_a_lock_holds_here_too() -> None:
    locked = scripted("Hello", pipelines={"careful": ["value_prompt"]}, policies=[{"key": "*", "lock": "careful"}])
    async with serving(locked) as server:
        response: Any = await server.openai.responses.create(model=MODEL, input="Hi")
        with pytest.raises(openai.PermissionDeniedError):
            await server.openai.responses.create(model=MODEL, input="Hi", extra_body={"alignment": {"strategy": "plain"}})
    assert response.alignment["status"] == "applied"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"input": []}, "input"),
        ({"temperature": 5}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 99}, "top_logprobs"),
        ({"inputs": "typo"}, "inputs"),
        ({"alignment": {"strategi": "plain"}}, "alignment.strategi"),
        ({"input": "word " * 3000}, "input"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_fields_are_named(fields: dict[str, Any], param: str, stream: bool) -> None:
    async with serving(scripted()) as server:
        answer = await server.http.post("/v1/responses", json={"model": MODEL, "input": "Hi", "stream": stream, **fields})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_nothing_is_stored() -> None:
    async with serving(scripted()) as server:
        with pytest.raises(openai.NotFoundError) as caught:
            await server.openai.responses.retrieve("resp_1")
        assert caught.value.code == "endpoint_not_supported"
        for method, path in (("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            answer = await server.http.request(method, f"/v1/responses/resp_1{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "endpoint_not_supported")
