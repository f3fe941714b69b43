"""Wire requests: what is accepted, what is refused and how it is named, and that the body goes on unchanged."""

from typing import Any

import pytest

from trimtab.server.api.schemas.capabilities import check_capabilities
from trimtab.server.api.schemas.caps import Endpoint, check_caps
from trimtab.server.api.schemas.chat import ChatCompletionRequest, chat_body
from trimtab.server.api.schemas.completions import completion_body
from trimtab.server.api.schemas.fields import HINTS, NATIVE_ONLY, SERVERS_OWN, UNSUPPORTED, refuse_native
from trimtab.server.settings import Limits
from trimtab.strategies.core.engine import Capabilities
from trimtab.strategies.core.errors import RequestRefused

ASK = {"role": "user", "content": "hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def chat(**fields: Any) -> dict[str, Any]:
    return chat_body({"model": "m", "messages": [ASK], **fields})


def refused(**fields: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        chat(**fields)
    return caught.value


def test_the_body_goes_on_as_it_came() -> None:
    body = {"model": "m", "messages": [{**ASK, "x": 1}], "temperature": 1, "new_field": {"a": [1]}, "stop": None}
    assert chat_body(body) == body
    assert chat_body(body)["messages"] is body["messages"]
    assert ChatCompletionRequest.model_validate(body).unknown == ("new_field",)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, ASK],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:x"}}]}],
        [
            ASK,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        [
            ASK,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": ""}]},
        ],
        [ASK, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [ASK, {"role": "assistant", "content": None, "refusal": "no"}],
        [{"role": "function", "name": "f", "content": None}],
        [{"role": "user", "content": ""}],
    ],
)
def test_messages_that_are_well_formed(messages: list[Any]) -> None:
    assert chat(messages=messages)["messages"] == messages


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ("hi", "messages"),
        ([], "messages"),
        (["hi"], "messages.0"),
        ([{"content": "hi"}], "messages.0.role"),
        ([{"role": "root", "content": "hi"}], "messages.0.role"),
        ([{"role": ["user"], "content": "hi"}], "messages.0.role"),
        ([ASK, {"role": "user"}], "messages.1.content"),
        ([{"role": "user", "content": None}], "messages.0.content"),
        ([{"role": "user", "content": 5}], "messages.0.content"),
        ([{"role": "user", "content": []}], "messages.0.content"),
        ([{"role": "user", "content": ["a"]}], "messages.0.content.0.type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0.text"),
        ([{"role": "user", "content": [{"type": "video"}]}], "messages.0.content.0.type"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}], "messages.0.content.0.image_url"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages.0.content.0.image_url.url"),
        ([{"role": "user", "content": "a\ud800"}], "messages.0.content"),
        ([{"role": "assistant", "content": None}], "messages.0.content"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], "messages.0.content"),
        ([{"role": "assistant", "tool_calls": "f"}], "messages.0.tool_calls"),
        ([{"role": "assistant", "tool_calls": [{"id": "c"}]}], "messages.0.tool_calls.0.function"),
        ([{"role": "assistant", "tool_calls": [{**CALL, "id": 5}]}], "messages.0.tool_calls.0.id"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]}],
            "messages.0.tool_calls.0.function.arguments",
        ),
        ([{"role": "assistant", "audio": {"id": "a"}}], "messages.0.audio"),
        ([{"role": "tool", "content": "r"}], "messages.0.tool_call_id"),
        ([{"role": "function", "content": "r"}], "messages.0.name"),
    ],
)
def test_messages_that_are_not(messages: Any, param: str) -> None:
    assert refused(messages=messages).param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.5}, "n"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a", ""]}, "stop"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"chat_template_kwargs": {"a": "<|im_end|>"}}, "chat_template_kwargs.a"),
        ({"alignment": {"strategi": "rain"}}, "alignment.strategi"),
        ({"alignment": {"strategy": [{"max_iterations": 1}]}}, "alignment.strategy"),
        ({"alignment": {"strategy": ""}}, "alignment.strategy"),
        ({"alignment": {"strategy": [None]}}, "alignment.strategy"),
        ({"alignment": {"budget": {"max_calls": 0}}}, "alignment.budget.max_calls"),
        ({"alignment": {"on_error": "ignore"}}, "alignment.on_error"),
        ({"extra_body": {"alignment": {"strategi": "rain"}}}, "alignment.strategi"),
        ({"alignment": "rain"}, "alignment"),
    ],
)
def test_fields_that_are_wrong(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert error.param == param
    assert error.code == "invalid_value"


@pytest.mark.parametrize("name", sorted({*UNSUPPORTED, *SERVERS_OWN}))
def test_what_cannot_be_honoured_is_refused_by_name(name: str) -> None:
    error = refused(**{name: {"x": 1} if name != "best_of" else 3})
    assert (error.param, error.code) == (name, "unsupported_parameter")
    assert chat(**{name: None})[name] is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tools": [TOOL, {"type": "custom", "custom": {"name": "c"}}]}, "tools.1.type"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs.chat_template"),
    ],
)
def test_other_unsupported_values(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert (error.param, error.code) == (param, "unsupported_parameter")


def test_hints_are_accepted() -> None:
    hints = {
        "metadata": {"a": "b"},
        "prediction": {"type": "content", "content": "x"},
        "prompt_cache_key": "k",
        "prompt_cache_options": {},
        "prompt_cache_retention": "24h",
        "reasoning_effort": "low",
        "safety_identifier": "s",
        "service_tier": "auto",
        "store": True,
        "user": "u",
        "verbosity": "low",
    }
    assert set(hints) == HINTS
    assert chat(**hints, stream=True, stream_options={"include_obfuscation": False}).items() >= hints.items()


def test_max_completion_tokens_wins() -> None:
    body = chat(max_tokens=5, max_completion_tokens=7)
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body
    assert chat(max_tokens=5)["max_tokens"] == 5


def test_a_nested_extra_body_is_lifted() -> None:
    body = chat(temperature=1, extra_body={"alignment": {"strategy": "plain"}, "temperature": 0})
    assert body["alignment"] == {"strategy": "plain"}
    assert body["temperature"] == 1
    assert "extra_body" not in body


@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2], [[1], [2, 3]], ""])
def test_prompts(prompt: Any) -> None:
    assert completion_body({"model": "m", "prompt": prompt})["prompt"] == prompt


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt.0"),
        ({"prompt": ["a", 1]}, "prompt.1"),
        ({"prompt": [1, "a"]}, "prompt.1"),
        ({"prompt": [-1]}, "prompt.0"),
        ({"prompt": [1.5]}, "prompt.0"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
    ],
)
def test_completions_that_are_wrong(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        completion_body({"model": "m", **fields})
    assert caught.value.param == param


def test_a_prompt_alone_can_be_scored() -> None:
    body = {"model": "m", "prompt": [[1, 2]], "max_tokens": 0, "echo": True, "logprobs": 1, "best_of": 1}
    assert completion_body(body) == body


LIMITS = Limits(n=2, top_logprobs=3, stop=2, stop_chars=4, messages=2, tools=1, schema_depth=3, max_tokens=10, prompts=2)


@pytest.mark.parametrize(
    ("body", "endpoint", "param"),
    [
        ({"n": 3}, "chat", "n"),
        ({"top_logprobs": 4}, "chat", "top_logprobs"),
        ({"logprobs": 4}, "completions", "logprobs"),
        ({"prompt_logprobs": 4}, "completions", "prompt_logprobs"),
        ({"max_tokens": 11}, "chat", "max_tokens"),
        ({"max_completion_tokens": 10**30}, "chat", "max_completion_tokens"),
        ({"stop": ["a"] * 3}, "chat", "stop"),
        ({"stop": "abcde"}, "chat", "stop"),
        ({"messages": [ASK] * 3}, "chat", "messages"),
        ({"tools": [TOOL] * 2}, "chat", "tools"),
        ({"response_format": {"json_schema": {"schema": {"a": 1}, "b": {"c": {"d": 1}}}}}, "chat", "response_format"),
        ({"prompt": ["a"] * 3}, "completions", "prompt"),
        ({"prompt": [[1]] * 3}, "completions", "prompt"),
        ({"input": ["a"] * 2049}, "embeddings", "input"),
        ({"input": [{}] * 3}, "responses", "input"),
    ],
)
def test_caps(body: dict[str, Any], endpoint: Endpoint, param: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        check_caps(body, LIMITS, endpoint)
    assert caught.value.param == param
    assert "limits." in str(caught.value)


def test_within_the_caps() -> None:
    check_caps({"n": 2, "logprobs": True, "top_logprobs": 3, "stop": "abcd", "messages": [ASK] * 2, "max_tokens": 10}, LIMITS)
    check_caps({"prompt": [1] * 1000}, LIMITS, "completions")
    check_caps({"response_format": None, "tools": None, "stop": None}, LIMITS)


POOR = Capabilities(tools=False, logprobs=-1, n=1, seed=False, images=False, logit_bias=False)
RICH = Capabilities(
    tools=True, response_format=frozenset({"text", "json_object", "json_schema"}), images=True, prompt_logprobs=True
)
IMAGE = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:x"}}]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 0, "prompt": "a"}, "logprobs"),
        ({"n": 2}, "n"),
        ({"seed": 0}, "seed"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"messages": [ASK, IMAGE]}, "messages.1.content.1"),
    ],
)
def test_an_engine_refuses_by_name_what_it_lacks(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        check_capabilities(body, POOR)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    check_capabilities(body, RICH)


def test_asking_for_nothing_is_always_fine() -> None:
    body = {"tools": [], "response_format": {"type": "text"}, "logprobs": False, "n": 1, "seed": None, "logit_bias": {}}
    check_capabilities({**body, "messages": [ASK]}, POOR)


def test_echo_with_logprobs_needs_prompt_logprobs() -> None:
    with pytest.raises(RequestRefused) as caught:
        check_capabilities({"prompt": "a", "echo": True, "logprobs": 1}, Capabilities())
    assert caught.value.param == "echo"


def test_a_prompts_log_probabilities_need_an_engine_that_has_them() -> None:
    with pytest.raises(RequestRefused) as caught:
        check_capabilities({"messages": [ASK], "prompt_logprobs": 0}, Capabilities())
    assert caught.value.param == "prompt_logprobs"
    check_capabilities({"messages": [ASK], "prompt_logprobs": 0}, Capabilities(prompt_logprobs=True))


def test_audio_parts_are_never_read() -> None:
    audio = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}
    with pytest.raises(RequestRefused):
        check_capabilities({"messages": [audio]}, RICH)


def test_fields_of_a_native_layer_are_refused_elsewhere() -> None:
    refuse_native({**NATIVE_ONLY, "temperature": 1}, by="the engine")
    for name in NATIVE_ONLY:
        with pytest.raises(RequestRefused) as caught:
            refuse_native({name: 7}, by="the engine")
        assert caught.value.param == name


@pytest.mark.parametrize("nesting", [1, 2, 3])
def test_extra_body_is_lifted_however_often_it_is_nested(nesting: int) -> None:
    extra: dict[str, Any] = {"alignment": {"strategy": "value_prompt"}}
    for _ in range(nesting):
        extra = {"extra_body": extra}
    assert chat(**extra)["alignment"] == {"strategy": "value_prompt"}
    assert chat(alignment=None, **extra)["alignment"] == {"strategy": "value_prompt"}
    assert chat(alignment={"strategy": "plain"}, **extra)["alignment"] == {"strategy": "plain"}


def test_an_extra_body_that_is_no_object_is_refused() -> None:
    assert refused(extra_body=["alignment"]).param == "extra_body"


@pytest.mark.parametrize(
    "field",
    [{"messages": [ASK]}, {"messages": 5}, {"max_completion_tokens": "x"}, {"tools": [TOOL]}, {"top_logprobs": [1]}],
    ids=lambda field: next(iter(field)),
)
def test_fields_of_a_chat_are_refused_beside_a_raw_prompt(field: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused, match="/v1/chat/completions") as caught:
        completion_body({"model": "m", "prompt": "x", **field})
    assert (caught.value.param, caught.value.code) == (next(iter(field)), "unsupported_parameter")


def test_the_response_format_of_a_completion_is_checked() -> None:
    with pytest.raises(RequestRefused):
        completion_body({"model": "m", "prompt": "x", "response_format": {"type": []}})
    assert completion_body({"model": "m", "prompt": "x", "response_format": {"type": "text"}, "user": "u", "verbosity": "low"})


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_bias": {str(index): "x" for index in range(100_000)}},
        {"metadata": {str(index): 1 for index in range(100_000)}},
        {"alignment": {str(index): 1 for index in range(100_000)}},
        {"stop": [1] * 100_000},
        {"messages": [1] * 100_000},
        {"tools": [1] * 100_000},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_flood_of_wrong_members_is_refused_at_the_first(fields: dict[str, Any]) -> None:
    """Naming each of them takes seconds and gigabytes; one finding is as good."""
    error = refused(**fields)
    assert len(str(error)) < 400
    assert "more" not in str(error)


def test_stops_of_the_wrong_type_are_no_affair_of_the_caps() -> None:
    for stop in (5, True, [1], [None], {"a": 1}):
        check_caps({"stop": stop}, Limits())


@pytest.mark.parametrize("prompt", [None, 5, True])
def test_a_prompt_of_the_wrong_type_is_named_as_the_client_calls_it(prompt: object) -> None:
    with pytest.raises(RequestRefused) as caught:
        completion_body({"model": "m", "prompt": prompt})
    assert caught.value.param == "prompt"
