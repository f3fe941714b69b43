"""A /v1/responses request becomes the chat request that means the same, or an error that names the field."""

from typing import Any

import pytest

from trimtab.server.api.responses.request import chat_param, to_chat
from trimtab.server.api.schemas.responses import ResponsesRequest
from trimtab.strategies.core.errors import RequestRefused

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True, "description": "Look up."}
WEATHER_CHAT = {
    "type": "function",
    "function": {"name": "weather", "description": "Look up.", "parameters": {"type": "object"}, "strict": True},
}


def chat(**fields: Any) -> dict[str, Any]:
    return to_chat(ResponsesRequest.model_validate({"input": "Hi", **fields}))


def refused(**fields: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        chat(**fields)
    return caught.value


def test_a_string_is_one_user_turn_and_nothing_is_invented() -> None:
    assert chat() == {"messages": [{"role": "user", "content": "Hi"}]}


def test_settings_keep_their_meaning() -> None:
    body = chat(
        model="m",
        temperature=0.5,
        top_p=0.9,
        seed=7,
        max_output_tokens=12,
        parallel_tool_calls=False,
        metadata={"a": "b"},
        reasoning={"effort": "low", "summary": "auto"},
        alignment={"strategy": "urial"},
        store=False,
        truncation="disabled",
    )
    del body["messages"]
    assert body == {
        "model": "m",
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "max_completion_tokens": 12,
        "parallel_tool_calls": False,
        "metadata": {"a": "b"},
        "reasoning_effort": "low",
        "alignment": {"strategy": "urial"},
    }


def test_streams_ask_for_usage() -> None:
    body = chat(stream=True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize("fields", [{"top_logprobs": 2}, {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}])
def test_logprobs_are_asked_for_by_either_field(fields: dict[str, Any]) -> None:
    body = chat(**fields)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)


def test_instructions_open_the_one_system_turn() -> None:
    items = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert chat(input=items, instructions="Be kind.")["messages"] == [
        {"role": "system", "content": "Be kind.\n\nBe brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert chat(instructions="Be kind.")["messages"][0] == {"role": "system", "content": "Be kind."}


def test_a_tool_round_trip_becomes_chat_turns() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Rain?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"at": "Bern"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "dry"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "wet"}]},
    ]
    assert chat(input=items)["messages"] == [
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "Bern"}'}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "dry"},
        {"role": "tool", "tool_call_id": "c2", "content": "wet"},
    ]


def test_images_and_several_parts_stay_parts() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "What?"}, image]}]
    assert chat(input=items)["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
    ]


def test_tools_and_choices() -> None:
    body = chat(tools=[WEATHER], tool_choice={"type": "function", "name": "weather"})
    assert body["tools"] == [WEATHER_CHAT]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert chat(tools=[WEATHER], tool_choice="required")["tool_choice"] == "required"


def test_allowed_tools_are_the_only_ones_left() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    body = chat(tools=[WEATHER, {"type": "function", "name": "clock"}], tool_choice=allowed)
    assert (body["tools"], body["tool_choice"]) == ([WEATHER_CHAT], "required")


def test_structured_output() -> None:
    text = {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True}}
    assert chat(text=text)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }
    assert chat(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert "response_format" not in chat(text={"format": {"type": "text"}})


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"store": True}, "store", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"truncation": "auto"}, "truncation", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "unsupported_parameter"),
        ({"tools": [WEATHER], "tool_choice": {"type": "file_search"}}, "tool_choice.type", "unsupported_parameter"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0", "unsupported_parameter"),
        ({"input": [{"type": "computer_call"}]}, "input.0.type", "invalid_value"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role", "invalid_value"),
        ({"input": [{"role": "user"}]}, "input.0.content", "invalid_value"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content.0.type", "invalid_value"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id", "invalid_value"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "invalid_value"),
    ],
)
def test_what_cannot_be_honoured_names_its_field(fields: dict[str, Any], param: str, code: str) -> None:
    error = refused(**fields)
    assert (error.param, error.code) == (param, code)


def test_errors_of_the_chat_request_get_this_requests_names() -> None:
    assert chat_param("messages.0.content") == "input"
    assert chat_param("max_completion_tokens") == "max_output_tokens"
    assert chat_param("alignment.strategy") == "alignment.strategy"
    assert chat_param(None) is None
