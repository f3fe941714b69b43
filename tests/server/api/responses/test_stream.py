"""Chat chunks become the events of /v1/responses; openai-python's accumulator rebuilds the answer from them."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from trimtab.server.api.responses.answer import begin
from trimtab.server.api.responses.stream import EventWriter
from trimtab.server.api.schemas.responses import ResponsesRequest

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **extra: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}], "usage": None, **extra}


def call(index: int, arguments: str, **first: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": first["name"]} if first else {})
    return {"tool_calls": [{"index": index, "function": function} | ({"id": first["id"]} if first else {})]}


def written(*chunks: dict[str, Any], error: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    writer = EventWriter(begin(ResponsesRequest.model_validate({"input": "Hi", "stream": True}), "m"))
    events = writer.begin()
    for item in chunks:
        events += writer.feed(item)
    return events + (writer.fail(error) if error else writer.end())


def accumulated(events: list[dict[str, Any]]) -> Any:
    """What openai-python makes of the events; its types must accept each of them."""
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(EVENTS.validate_python(event))
    return state._completed_response


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_text_has_openais_order_of_events() -> None:
    alignment = {"strategy": ["value_prompt"], "status": "applied"}
    events = written(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        {"choices": [], "usage": USAGE, "alignment": alignment},
    )
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    response = accumulated(events)
    assert response.output_text == "Hello"
    assert response.usage.total_tokens == 13
    assert events[-1]["response"]["alignment"] == alignment
    assert "alignment" not in events[0]["response"]


def test_sequence_numbers_count_up_from_zero() -> None:
    numbers = [event["sequence_number"] for event in written(chunk({"content": "a"}), chunk({}, "stop"))]
    assert numbers[0] == 0
    assert all(second == first + 1 for first, second in pairwise(numbers))


def test_interleaved_function_calls() -> None:
    events = written(
        chunk({"content": "I look."}),
        chunk(call(0, "", id="c1", name="weather")),
        chunk(call(0, '{"at":')),
        chunk(call(1, "{}", id="c2", name="clock")),
        chunk(call(0, ' "Bern"}')),
        chunk({}, "tool_calls"),
    )
    response = accumulated(events)
    assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
    assert [item.arguments for item in response.output[1:]] == ['{"at": "Bern"}', "{}"]
    assert [item.call_id for item in response.output[1:]] == ["c1", "c2"]
    assert types(events).count("function_call_arguments.done") == 2


def test_reasoning_then_text() -> None:
    events = written(chunk({"reasoning_content": "2+"}), chunk({"reasoning_content": "2"}), chunk({"content": "4"}, "stop"))
    response = accumulated(events)
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "2+2"
    assert response.output_text == "4"


def test_a_refusal_is_a_refusal_part() -> None:
    events = written(chunk({"refusal": "I "}), chunk({"refusal": "won't"}, "stop"))
    assert "refusal.done" in types(events)
    assert accumulated(events).output[0].content[0].refusal == "I won't"


def test_an_answer_cut_at_its_length_is_incomplete() -> None:
    events = written(chunk({"content": "Hel"}, "length"))
    EVENTS.validate_python(events[-1])
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_no_text_at_all_is_an_empty_message() -> None:
    assert accumulated(written(chunk({"role": "assistant", "content": ""}), chunk({}, "stop"))).output_text == ""


def test_a_stream_that_breaks_off_fails_with_what_was_said() -> None:
    error = {"message": "the engine died", "type": "server_error", "param": None, "code": "engine_unavailable"}
    events = written(chunk({"content": "Hel"}), error=error)
    for event in events:
        EVENTS.validate_python(event)
    response = events[-1]["response"]
    assert (events[-1]["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"]["message"] == "the engine died (engine_unavailable)"
    assert response["output"][0]["content"][0]["text"] == "Hel"


def test_log_probabilities_ride_on_the_deltas_and_the_part() -> None:
    entry = {"token": "He", "logprob": -0.5, "bytes": [72, 101], "top_logprobs": []}
    item = chunk({"content": "He"}, "stop")
    item["choices"][0]["logprobs"] = {"content": [entry]}
    events = written(item)
    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    assert delta["logprobs"] == [entry]
    assert accumulated(events).output[0].content[0].logprobs[0].logprob == -0.5


@given(st.lists(st.text(max_size=5), max_size=8))
def test_joined_deltas_are_the_text(pieces: list[str]) -> None:
    response = accumulated(written(*(chunk({"content": piece}) for piece in pieces), chunk({}, "stop")))
    assert response.output_text == "".join(pieces)
