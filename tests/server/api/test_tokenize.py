"""/tokenize, /detokenize and /tokenizer_info, as vLLM and lm-evaluation-harness use them."""

from typing import Any

import pytest

from tests.server.api.serving import Serving, scripted, serving

MESSAGES = [{"role": "user", "content": "Hi there"}]


async def tokens(server: Serving, **body: Any) -> dict[str, Any]:
    answer = await server.http.post("/tokenize", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_prompt_goes_there_and_back() -> None:
    async with serving(scripted()) as server:
        answer = await tokens(server, prompt="naïve café", add_special_tokens=False, return_token_strs=True)
        assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
        assert answer["max_model_len"] == 2048
        back = await server.http.post("/detokenize", json={"tokens": answer["tokens"]})
        assert back.json() == {"prompt": "naïve café"}
        special = await tokens(server, prompt="naïve café")
        assert special["count"] == answer["count"] + 1
        assert special["token_strs"] is None


async def test_messages_count_as_usage_does() -> None:
    async with serving(scripted("ok")) as server:
        answer = await tokens(server, model="org/test-model", messages=MESSAGES)
        chat = await server.openai.chat.completions.create(model="org/test-model", messages=MESSAGES)  # type: ignore[arg-type]
        assert chat.usage is not None
        assert chat.usage.prompt_tokens == answer["count"]


async def test_template_switches_change_the_ids() -> None:
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    ended = [*MESSAGES, {"role": "assistant", "content": "The"}]
    async with serving(scripted()) as server:
        plain = await tokens(server, messages=MESSAGES)
        closed = await tokens(server, messages=MESSAGES, add_generation_prompt=False)
        assert plain["tokens"][: closed["count"]] == closed["tokens"]
        assert plain["count"] > closed["count"]
        assert (await tokens(server, messages=MESSAGES, tools=[tool]))["count"] > plain["count"]
        continued = await tokens(server, messages=ended, add_generation_prompt=False, continue_final_message=True)
        assert continued["tokens"][: plain["count"]] == plain["tokens"]


async def test_alignment_shows_the_shaped_prompt() -> None:
    alignment = {"strategy": "value_prompt"}
    async with serving(scripted("ok", pipelines={"careful": ["value_prompt"]})) as server:
        plain = await tokens(server, messages=MESSAGES)
        shaped = await tokens(server, messages=MESSAGES, alignment=alignment)
        alias = await tokens(server, model="org/test-model:careful", messages=MESSAGES, alignment={})
        assert (await tokens(server, messages=MESSAGES, alignment={}))["tokens"] == plain["tokens"]
        chat = await server.openai.chat.completions.create(
            model="org/test-model",
            messages=MESSAGES,  # type: ignore[arg-type]
            extra_body={"alignment": alignment},
        )
    assert chat.usage is not None
    assert chat.usage.prompt_tokens == shaped["count"] > plain["count"]
    assert alias["tokens"] == shaped["tokens"]


async def test_content_forges_no_control_token() -> None:
    async with serving(scripted()) as server:
        info = (await server.http.get("/tokenizer_info")).json()
        eos = (await tokens(server, prompt=info["eos_token"], add_special_tokens=False))["tokens"][0]
        plain = await tokens(server, messages=[{"role": "user", "content": "x"}])
        forged = await tokens(server, messages=[{"role": "user", "content": f"x{info['eos_token']}"}])
    assert forged["tokens"].count(eos) == plain["tokens"].count(eos)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": "a", "messages": MESSAGES}, "prompt"),
        ({"prompt": "a", "tools": []}, "tools"),
        ({"prompt": "a", "alignment": {}}, "alignment"),
        ({"messages": MESSAGES, "alignment": {"strategi": "plain"}}, "alignment.strategi"),
        ({"messages": MESSAGES, "alignment": {"strategy": "nosuch"}}, "alignment.strategy"),
        ({"prompt": 3}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages.0.role"),
        ({"messages": MESSAGES, "add_special_tokens": True}, "add_special_tokens"),
        ({"prompt": "a", "chat_template": "{{ x }}"}, "chat_template"),
    ],
)
async def test_bad_bodies_name_the_field(body: dict[str, Any], param: str) -> None:
    async with serving(scripted()) as server:
        answer = await server.http.post("/tokenize", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_ids_outside_the_vocabulary_are_named() -> None:
    async with serving(scripted()) as server:
        answer = await server.http.post("/detokenize", json={"tokens": [1, 2**31 - 1]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tokens.1"


async def test_unknown_models_are_404() -> None:
    async with serving(scripted()) as server:
        for answer in (
            await server.http.post("/tokenize", json={"model": "x", "prompt": "a"}),
            await server.http.post("/detokenize", json={"model": "x", "tokens": [1]}),
            await server.http.get("/tokenizer_info", params={"model": "x"}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
