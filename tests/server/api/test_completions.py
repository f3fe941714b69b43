"""/v1/completions: the four forms of a prompt, echo with log-probabilities, streams, refusals."""

from typing import Any

import openai
import pytest

from tests.server.api.serving import Serving, scripted, serving

MODEL = "org/test-model"


async def ids(server: Serving, text: str) -> list[int]:
    answer = await server.http.post("/tokenize", json={"prompt": text, "add_special_tokens": False})
    return list(answer.json()["tokens"])


async def test_text_prompts() -> None:
    async with serving(scripted("one two", "three")) as server:
        one = await server.openai.completions.create(model=MODEL, prompt="Count:")
        two = await server.openai.completions.create(model=MODEL, prompt=["a", "b"])
    assert (one.object, one.model, one.choices[0].text) == ("text_completion", MODEL, "one two")
    assert one.choices[0].finish_reason == "stop"
    assert [choice.index for choice in two.choices] == [0, 1]
    assert one.usage is not None
    assert one.usage.total_tokens == one.usage.prompt_tokens + one.usage.completion_tokens


async def test_token_id_prompts_are_taken_as_they_are() -> None:
    async with serving(scripted()) as server:
        prompt = await ids(server, "Hello")
        flat = await server.openai.completions.create(model=MODEL, prompt=prompt, max_tokens=50)
        nested = await server.openai.completions.create(model=MODEL, prompt=[prompt, prompt], max_tokens=50)
    assert flat.choices[0].text == "You said: Hello"
    assert [choice.text for choice in nested.choices] == ["You said: Hello"] * 2
    assert flat.usage is not None
    assert flat.usage.prompt_tokens == len(prompt)


async def test_the_default_length_is_sixteen_tokens() -> None:
    async with serving(scripted("word " * 100)) as server:
        answer = await server.openai.completions.create(model=MODEL, prompt="a")
        longer = await server.openai.completions.create(model=MODEL, prompt="a", max_tokens=20)
    assert answer.usage is not None
    assert longer.usage is not None
    assert (answer.usage.completion_tokens, longer.usage.completion_tokens) == (16, 20)
    assert answer.choices[0].finish_reason == "length"


async def test_what_lm_evaluation_harness_asks_for() -> None:
    """Its payload, and what it reads: one entry a prompt token and one for the token it does not want."""
    async with serving(scripted("word")) as server:
        first, second = await ids(server, "The sky is blue"), await ids(server, "Two")
        payload = {
            "model": MODEL,
            "prompt": [first, second],
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": 1,
            "seed": 1234,
            "echo": True,
        }
        answer = await server.http.post("/v1/completions", json=payload)
    assert answer.status_code == 200, answer.text
    choices = answer.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    for choice, prompt in zip(choices, (first, second), strict=True):
        logprobs = choice["logprobs"]
        assert len(logprobs["token_logprobs"]) == len(logprobs["top_logprobs"]) == len(logprobs["tokens"]) == len(prompt) + 1
        assert logprobs["token_logprobs"][0] is None
        assert all(value < 0 for value in logprobs["token_logprobs"][1:])
        for top, value in zip(logprobs["top_logprobs"][1:-1], logprobs["token_logprobs"][1:-1], strict=True):
            assert max(top.values()) >= value
    assert choices[0]["text"].startswith("The sky is blue")


async def test_a_prompt_alone_can_be_scored() -> None:
    async with serving(scripted("never said")) as server:
        answer = await server.openai.completions.create(model=MODEL, prompt="abc", max_tokens=0, echo=True, logprobs=0)
    assert answer.choices[0].text.endswith("abc")
    assert "never said" not in answer.choices[0].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 0


async def test_streams_join_to_the_whole_answer() -> None:
    async with serving(scripted("alpha beta gamma")) as server:
        whole = await server.openai.completions.create(model=MODEL, prompt="a", n=2)
        stream = await server.openai.completions.create(
            model=MODEL, prompt="a", n=2, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    for index, choice in enumerate(whole.choices):
        pieces = [c.text for chunk in chunks for c in chunk.choices if c.index == index]
        assert len(pieces) > 1
        assert "".join(pieces) == choice.text
        finishes = [c.finish_reason for chunk in chunks for c in chunk.choices if c.index == index and c.finish_reason]
        assert finishes == [choice.finish_reason]
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


async def test_stop_ends_before_the_string() -> None:
    async with serving(scripted("alpha STOP beta")) as server:
        answer = await server.openai.completions.create(model=MODEL, prompt="a", stop=["STOP"])
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("alpha ", "stop")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"best_of": 3}, "best_of", "unsupported_parameter"),
        ({"n": 99}, "n", "invalid_value"),
        ({"logprobs": 99}, "logprobs", "invalid_value"),
        ({"logprobs": -1}, "logprobs", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": [[]]}, "prompt.0", "invalid_value"),
        ({"prompt": [1, "a"]}, "prompt.1", "invalid_value"),
        ({"prompt": [-1]}, "prompt.0", "invalid_value"),
        ({"prompt": [2**31 - 1]}, "prompt", "invalid_value"),
        ({"prompt": [[1], [2**31 - 1]], "echo": True, "stream": True}, "prompt", "invalid_value"),
        ({"prompt": ["a"] * 65}, "prompt", "invalid_value"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
        ({"alignment": {"strategi": "plain"}}, "alignment.strategi", "invalid_value"),
    ],
)
async def test_bad_fields_are_named(fields: dict[str, Any], param: str, code: str) -> None:
    async with serving(scripted()) as server:
        answer = await server.http.post("/v1/completions", json={"model": MODEL, "prompt": "a", **fields})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


async def test_best_of_that_asks_for_nothing_is_accepted() -> None:
    async with serving(scripted()) as server:
        answer = await server.openai.completions.create(model=MODEL, prompt="a", n=2, best_of=2)
    assert len(answer.choices) == 2


async def test_a_prompt_that_fills_the_window_is_context_length_exceeded() -> None:
    async with serving(scripted()) as server:
        with pytest.raises(openai.BadRequestError) as caught:
            await server.openai.completions.create(model=MODEL, prompt="word " * 3000)
    assert caught.value.code == "context_length_exceeded"


async def test_an_unknown_model_is_404() -> None:
    async with serving(scripted()) as server:
        with pytest.raises(openai.NotFoundError):
            await server.openai.completions.create(model="other", prompt="a")


async def test_under_a_lock_raw_prompts_are_forbidden() -> None:
    locked = scripted(pipelines={"careful": ["value_prompt"]}, policies=[{"key": "*", "lock": "careful"}])
    async with serving(locked) as server:
        for prompt in ("a", [1, 2]):
            with pytest.raises(openai.PermissionDeniedError) as caught:
                await server.openai.completions.create(model=MODEL, prompt=prompt)
            assert caught.value.code == "strategy_not_allowed"


async def test_a_strategy_for_conversations_is_refused_by_name() -> None:
    async with serving(scripted()) as server:
        with pytest.raises(openai.BadRequestError) as caught:
            await server.openai.completions.create(
                model=MODEL, prompt="a", extra_body={"alignment": {"strategy": "value_prompt"}}
            )
    assert "value_prompt" in caught.value.message


@pytest.mark.parametrize(
    "field",
    [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"regex": "a+"}}],
    ids=lambda field: next(iter(field)),
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_structure_that_nobody_keeps_is_refused(field: dict[str, Any], stream: bool) -> None:
    async with serving(scripted()) as server:
        answer = await server.http.post("/v1/completions", json={"model": MODEL, "prompt": "x", "stream": stream, **field})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(field))
    assert answer.json()["error"]["code"] == "unsupported_parameter"
