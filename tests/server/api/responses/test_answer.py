"""A chat answer becomes a response object that openai-python's own types accept."""

from typing import Any

from openai.types.responses import Response

from trimtab.server.api.responses.answer import begin, complete
from trimtab.server.api.schemas.responses import ResponsesRequest

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 3},
}


def respond(message: dict[str, Any], finish_reason: str = "stop", **extra: Any) -> dict[str, Any]:
    request = ResponsesRequest.model_validate({"input": "Hi", "instructions": "Be kind.", "metadata": {"a": "b"}})
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    logprobs = extra.pop("logprobs", None)
    completion = {"model": "m:careful", "choices": [choice | {"logprobs": logprobs}], "usage": USAGE, **extra}
    return complete(begin(request, "m"), completion)


def test_text() -> None:
    wire = respond({"content": "Hello"}, alignment={"status": "applied"})
    response = Response.model_validate(wire)
    assert response.output_text == "Hello"
    assert (response.status, response.model, response.instructions) == ("completed", "m:careful", "Be kind.")
    assert wire["store"] is False
    assert wire["alignment"] == {"status": "applied"}
    assert response.metadata == {"a": "b"}
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (9, 4, 13)
    assert response.usage.input_tokens_details.cached_tokens == 3


def test_a_passed_through_answer_carries_no_alignment() -> None:
    assert "alignment" not in respond({"content": "Hello"})


def test_a_cut_answer_is_incomplete() -> None:
    response = Response.model_validate(respond({"content": "Hel"}, "length"))
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"  # type: ignore[union-attr]


def test_function_calls_follow_the_text() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    response = Response.model_validate(respond({"content": "I look.", "tool_calls": [call]}, "tool_calls"))
    assert [item.type for item in response.output] == ["message", "function_call"]
    assert response.output[1].call_id == "c1"  # type: ignore[union-attr]
    assert response.status == "completed"


def test_function_calls_alone_need_no_message() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    response = Response.model_validate(respond({"content": None, "tool_calls": [call]}, "tool_calls"))
    assert [item.type for item in response.output] == ["function_call"]


def test_reasoning_comes_first() -> None:
    response = Response.model_validate(respond({"content": "4", "reasoning": "2+2"}))
    assert [item.type for item in response.output] == ["reasoning", "message"]


def test_log_probabilities() -> None:
    entry = {
        "token": "He",
        "logprob": -0.5,
        "bytes": None,
        "top_logprobs": [{"token": "Ha", "logprob": -1.0, "bytes": [72, 97]}],
    }
    response = Response.model_validate(respond({"content": "He"}, logprobs={"content": [entry]}))
    part = response.output[0].content[0]  # type: ignore[union-attr, index]
    assert part.logprobs[0].bytes == [72, 101]  # type: ignore[union-attr, index]
    assert part.logprobs[0].top_logprobs[0].token == "Ha"  # type: ignore[union-attr, index]


def test_an_empty_answer_is_an_empty_message() -> None:
    response = Response.model_validate(respond({"content": ""}))
    assert response.output_text == ""
    assert response.output[0].type == "message"
