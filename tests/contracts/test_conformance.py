"""What `features.py` promises, asked of every engine through the official OpenAI client."""

import base64
import json
import struct
from collections.abc import Callable

import openai
import pytest
from pydantic import BaseModel

from tests.contracts.features import FEATURES, EngineName, Feature
from tests.contracts.servers import Live

QUESTION = [{"role": "user", "content": "Name three colours, with commas between them."}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a town",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"town": {"type": "string", "maxLength": 12}},
                "required": ["town"],
                "additionalProperties": False,
            },
        },
    }
]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "maxLength": 12}},
    "required": ["colour"],
    "additionalProperties": False,
}

Check = Callable[[openai.OpenAI, Live], None]


def chat(client: openai.OpenAI, live: Live, **options: object) -> openai.types.chat.ChatCompletion:
    settings = {"temperature": 0, "max_completion_tokens": 24, "messages": QUESTION, **options}
    return client.chat.completions.create(model=live.model, **settings)  # type: ignore[call-overload, no-any-return]


def answer(client: openai.OpenAI, live: Live) -> None:
    said = chat(client, live)
    assert said.id.startswith("chatcmpl-")
    assert said.object == "chat.completion"
    assert said.model == live.model
    assert said.choices[0].message.content
    assert said.choices[0].finish_reason in {"stop", "length"}
    assert said.usage is not None
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    assert 0 < said.usage.completion_tokens <= 24


def stream(client: openai.OpenAI, live: Live) -> None:
    whole = chat(client, live)
    chunks = list(chat(client, live, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (
        whole.usage.prompt_tokens,
        whole.usage.completion_tokens,
    )
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert finishes == [whole.choices[0].finish_reason]


def choices(client: openai.OpenAI, live: Live) -> None:
    said = chat(client, live, n=3, temperature=0.8, seed=7)
    assert [choice.index for choice in said.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in said.choices)


def stops(client: openai.OpenAI, live: Live) -> None:
    whole = chat(client, live).choices[0].message.content or ""
    marker = whole[len(whole) // 2 :][:4]
    cut = chat(client, live, stop=[marker])
    assert cut.choices[0].message.content == whole.split(marker)[0]
    assert cut.choices[0].finish_reason == "stop"


def seed(client: openai.OpenAI, live: Live) -> None:
    said = [chat(client, live, temperature=1.0, seed=11).choices[0].message.content for _ in range(2)]
    assert said[0] == said[1]


def logprobs(client: openai.OpenAI, live: Live) -> None:
    said = chat(client, live, logprobs=True, top_logprobs=3, max_completion_tokens=5)
    assert said.choices[0].logprobs is not None
    entries = said.choices[0].logprobs.content or []
    assert said.usage is not None
    assert len(entries) >= 5
    assert all(len(entry.top_logprobs) == 3 and entry.logprob <= 0 for entry in entries[:5])
    assert all(entry.logprob == max(top.logprob for top in entry.top_logprobs) for entry in entries[:5])


def longest(client: openai.OpenAI, live: Live) -> None:
    said = chat(client, live, max_completion_tokens=3, max_tokens=20)
    assert said.usage is not None
    assert said.usage.completion_tokens == 3
    assert said.choices[0].finish_reason == "length"


def tools(client: openai.OpenAI, live: Live) -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    said = chat(client, live, tools=TOOLS, tool_choice=choice, max_completion_tokens=60)
    calls = said.choices[0].message.tool_calls or []
    assert calls[0].function.name == "weather"  # type: ignore[union-attr]
    assert set(json.loads(calls[0].function.arguments)) == {"town"}  # type: ignore[union-attr]


def json_schema(client: openai.OpenAI, live: Live) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "pick", "schema": SCHEMA, "strict": True}}
    said = chat(client, live, response_format=wanted, max_completion_tokens=60)
    assert set(json.loads(said.choices[0].message.content or "")) == {"colour"}


def alignment(client: openai.OpenAI, live: Live) -> None:
    plain = chat(client, live)
    said = chat(client, live, extra_body={"alignment": {"strategy": "value_prompt"}})
    explained = (said.model_extra or {})["alignment"]
    assert explained["strategy"] == ["value_prompt"]
    assert explained["status"] == "applied"
    assert explained["changed"] is True
    assert "alignment" not in (plain.model_extra or {})
    assert said.usage is not None
    assert plain.usage is not None
    assert said.usage.prompt_tokens > plain.usage.prompt_tokens
    chunks = list(chat(client, live, stream=True, extra_body={"alignment": {"strategy": "value_prompt"}}))
    assert (chunks[-1].model_extra or {})["alignment"]["status"] == "applied"
    assert all("alignment" not in (chunk.model_extra or {}) for chunk in chunks[:-1])
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == said.choices[0].message.content
    by_alias = client.chat.completions.create(
        model=f"{live.model}:careful",
        messages=QUESTION,
        temperature=0,
        max_completion_tokens=24,  # type: ignore[arg-type]
    )
    assert by_alias.model == f"{live.model}:careful"
    assert by_alias.choices[0].message.content == text


def completion(client: openai.OpenAI, live: Live) -> None:
    said = client.completions.create(model=live.model, prompt=["The sky is", "Grass is"], max_tokens=4, temperature=0)
    assert [choice.index for choice in said.choices] == [0, 1]
    assert all(choice.text for choice in said.choices)
    assert said.object == "text_completion"


def completion_stream(client: openai.OpenAI, live: Live) -> None:
    whole = client.completions.create(model=live.model, prompt="The sky is", max_tokens=12, temperature=0)
    chunks = list(client.completions.create(model=live.model, prompt="The sky is", max_tokens=12, temperature=0, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text


def completion_ids(client: openai.OpenAI, live: Live) -> None:
    ids = live.post("/tokenize", {"model": live.model, "prompt": "The sky is"})["tokens"]
    by_ids = client.completions.create(model=live.model, prompt=ids, max_tokens=4, temperature=0)
    by_text = client.completions.create(model=live.model, prompt="The sky is", max_tokens=4, temperature=0)
    assert by_ids.choices[0].text == by_text.choices[0].text
    assert by_ids.usage is not None
    assert by_ids.usage.prompt_tokens == len(ids)


def echo(client: openai.OpenAI, live: Live) -> None:
    ids = live.post("/tokenize", {"model": live.model, "prompt": "The sky is blue"})["tokens"]
    said = client.completions.create(
        model=live.model, prompt=[ids], max_tokens=1, logprobs=1, echo=True, temperature=0, seed=1234
    )
    scored = said.choices[0].logprobs
    assert scored is not None
    assert scored.token_logprobs is not None
    assert scored.token_logprobs[0] is None
    assert len(scored.token_logprobs) == len(ids) + 1
    assert all(value <= 0 for value in scored.token_logprobs[1:])
    assert scored.top_logprobs is not None
    assert len(scored.top_logprobs) == len(ids) + 1


def responses(client: openai.OpenAI, live: Live) -> None:
    said = client.responses.create(
        model=live.model, input="Name a colour.", instructions="Be brief.", temperature=0, max_output_tokens=20
    )
    assert said.output_text
    assert said.usage is not None
    assert said.usage.output_tokens > 0


def responses_stream(client: openai.OpenAI, live: Live) -> None:
    events = list(
        client.responses.create(model=live.model, input="Name a colour.", temperature=0, max_output_tokens=20, stream=True)
    )
    assert events[0].type == "response.created"
    assert events[-1].type in {"response.completed", "response.incomplete"}
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


def responses_store(client: openai.OpenAI, live: Live) -> None:
    for field in ({"store": True}, {"background": True}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=live.model, input="hi", **field)  # type: ignore[call-overload]
        assert caught.value.param == next(iter(field))


def models(client: openai.OpenAI, live: Live) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:2] == [live.model, f"{live.model}:careful"]
    assert client.models.retrieve(live.model).id == live.model
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("organisation/none")
    assert caught.value.code == "model_not_found"


def embeddings(client: openai.OpenAI, live: Live) -> None:
    told = client.embeddings.create(model="all-MiniLM-L6-v2", input=["a cat", "a dog"])
    assert [entry.index for entry in told.data] == [0, 1]
    assert len(told.data[0].embedding) == 384
    wire = live.post("/v1/embeddings", {"model": "all-MiniLM-L6-v2", "input": "a cat", "encoding_format": "base64"})
    values = struct.unpack("<384f", base64.b64decode(wire["data"][0]["embedding"]))
    assert values == pytest.approx(told.data[0].embedding, abs=1e-5)


def tokenize(client: openai.OpenAI, live: Live) -> None:
    wire = live.post("/tokenize", {"model": live.model, "messages": QUESTION})
    said = chat(client, live)
    assert said.usage is not None
    assert wire["count"] == len(wire["tokens"]) == said.usage.prompt_tokens
    assert wire["max_model_len"] > 0


def detokenize(client: openai.OpenAI, live: Live) -> None:
    ids = live.post("/tokenize", {"model": live.model, "prompt": "Héllo wörld", "add_special_tokens": False})["tokens"]
    assert live.post("/detokenize", {"model": live.model, "tokens": ids})["prompt"] == "Héllo wörld"


def tokenizer_info(client: openai.OpenAI, live: Live) -> None:
    assert live.get("/tokenizer_info")["eos_token"]


CHECKS: dict[str, Check] = {
    "chat/answer": answer,
    "chat/stream, usage chunk": stream,
    "chat/n choices": choices,
    "chat/stop strings": stops,
    "chat/seed": seed,
    "chat/logprobs, top_logprobs": logprobs,
    "chat/max_completion_tokens": longest,
    "chat/tools": tools,
    "chat/response_format json_schema": json_schema,
    "chat/alignment object": alignment,
    "completions/text prompt": completion,
    "completions/stream": completion_stream,
    "completions/token-id prompts": completion_ids,
    "completions/echo with logprobs": echo,
    "responses/text input, instructions": responses,
    "responses/stream": responses_stream,
    "responses/store or background": responses_store,
    "models/list, retrieve": models,
    "embeddings/float and base64": embeddings,
    "tokenize/prompt and messages": tokenize,
    "detokenize/token ids": detokenize,
    "tokenizer_info/special tokens, template": tokenizer_info,
}


def test_every_promise_has_a_check() -> None:
    assert {feature.id for feature in FEATURES} == set(CHECKS)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.id)
def test_promise(feature: Feature, client: openai.OpenAI, live: Live) -> None:
    engine: EngineName = live.engine  # type: ignore[assignment]
    state = feature.state(engine)
    check = CHECKS[feature.id]
    if state != "refused" or feature.name == "store or background":
        check(client, live)
        return
    with pytest.raises(openai.BadRequestError) as caught:
        check(client, live)
    assert caught.value.code == "unsupported_parameter"
    assert caught.value.param


class Pick(BaseModel):
    colour: str


def test_parse_helper(client: openai.OpenAI, live: Live) -> None:
    if live.engine == "transformers":
        with pytest.raises(openai.BadRequestError, match="response_format"):
            client.chat.completions.parse(model=live.model, messages=QUESTION, response_format=Pick)  # type: ignore[arg-type]
        return
    said = client.chat.completions.parse(
        model=live.model,
        messages=QUESTION,
        response_format=Pick,
        temperature=0,
        max_completion_tokens=200,  # type: ignore[arg-type]
    )
    assert isinstance(said.choices[0].message.parsed, Pick)


def test_stream_helper(client: openai.OpenAI, live: Live) -> None:
    with client.chat.completions.stream(
        model=live.model,
        messages=QUESTION,
        temperature=0,
        max_completion_tokens=400,  # type: ignore[arg-type]
        extra_body={"alignment": {"strategy": "value_prompt"}},
    ) as events:
        text = "".join(event.delta for event in events if event.type == "content.delta")
        final = events.get_final_completion()
    assert final.choices[0].message.content == text


async def test_async_client(live: Live) -> None:
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key="none", max_retries=0) as client:
        chunks = await client.chat.completions.create(
            model=live.model,
            messages=QUESTION,
            temperature=0,
            max_completion_tokens=24,
            stream=True,  # type: ignore[arg-type]
        )
        streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
        whole = await client.chat.completions.create(
            model=live.model,
            messages=QUESTION,
            temperature=0,
            max_completion_tokens=24,  # type: ignore[arg-type]
        )
    assert whole.choices[0].message.content == streamed


def test_chain_of_thought_counts_both_calls(client: openai.OpenAI, live: Live) -> None:
    spec = {"kind": "value_prompt", "condition": "chain_of_thought", "reasoning_tokens": 16}
    said = chat(client, live, extra_body={"alignment": {"strategy": [spec], "trace": "full"}})
    explained = (said.model_extra or {})["alignment"]
    assert explained["usage"]["calls"] == 2
    assert said.usage is not None
    counted = explained["usage"]["by_role"]["policy"]
    assert counted["completion_tokens"] == said.usage.completion_tokens
    assert explained["usage"]["final"]["completion_tokens"] < said.usage.completion_tokens
    assert explained["steps"][0]["reasoning"]


def test_context_overflow_names_the_numbers(client: openai.OpenAI, live: Live) -> None:
    words = "word " * (20000 if live.engine in {"scripted", "upstream"} else 3000)
    for options in ({}, {"extra_body": {"alignment": {"strategy": "value_prompt"}}}):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, live, messages=[{"role": "user", "content": words}], **options)
        assert caught.value.code == "context_length_exceeded"
        if live.engine != "upstream":
            assert ("added by value_prompt" in str(caught.value)) == bool(options)


def test_unknown_model(client: openai.OpenAI, live: Live) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="smollm2-135m-instrct", messages=QUESTION)  # type: ignore[arg-type]
    assert caught.value.code == "model_not_found"
    assert "did you mean" in str(caught.value)
