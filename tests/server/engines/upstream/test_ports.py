"""The ports: deltas, what is learned from refusals, token ids over HTTP."""

import json
from contextlib import aclosing
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from tests.server.engines.upstream import fake as upstream
from tests.server.engines.upstream.fake import FakeUpstream
from trimtab.server.engines.encoding.escape import BREAK
from trimtab.strategies.core.engine import Call, Params
from trimtab.strategies.core.errors import ConfigError, EngineUnavailable, RequestRefused, UpstreamError
from trimtab.strategies.core.messages import Conversation, Delta, Segment, Text, Usage

CALL = Call("req-1", cache_salt="salt")
ASKED = Conversation.from_wire([{"role": "user", "content": "hi"}])


async def gathered(deltas: Any) -> list[Any]:
    async with aclosing(deltas):
        return [delta async for delta in deltas]


def text_of(deltas: list[Delta], index: int = 0) -> str:
    return "".join(delta.text for delta in deltas if delta.index == index)


async def test_chat_gives_text_finish_and_usage(setup: Any) -> None:
    s = await setup()
    deltas = await gathered(s.engine.ports.messages.chat(ASKED, Params(max_tokens=9, temperature=0.5, stop=("x",)), CALL))
    assert text_of(deltas) == "hello world"
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]
    assert [delta.usage for delta in deltas if delta.usage] == [Usage(5, 2)]
    assert s.fake.generations()[0] == {
        "model": "big-model",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "stop": ["x"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_tool_calls_reasoning_and_logprobs_survive(setup: Any) -> None:
    s = await setup()
    calls = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]
    entry = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    choices = [
        {"index": 0, "delta": {"role": "assistant", "reasoning_content": "hm", "refusal": None}},
        {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [entry]}},
        {"index": 0, "delta": {"tool_calls": calls}, "finish_reason": "tool_calls"},
    ]
    s.fake.next_answers.append(lambda body: upstream.events([{"choices": [choice]} for choice in choices]))
    reasoning, text, tools = await gathered(s.engine.ports.messages.chat(ASKED, Params(logprobs=0), CALL))
    assert reasoning.fields == {"reasoning_content": "hm"}
    assert (text.text, text.logprobs) == ("a", (entry,))
    assert (tools.fields, tools.finish_reason) == ({"tool_calls": calls}, "tool_calls")


async def test_an_upstream_without_counts_is_noted(setup: Any) -> None:
    s = await setup()
    s.fake.next_answers.append(lambda body: upstream.events(upstream.chat_chunks({"messages": []}, "m")))
    deltas = await gathered(s.engine.ports.messages.chat(ASKED, Params(), CALL))
    assert not [delta for delta in deltas if delta.usage]
    assert "usage is unknown" in " ".join(s.engine.capabilities.notes)


def refusing(name: str, message: str, param: str | None = None) -> FakeUpstream:
    def refuse(body: dict[str, Any]) -> Response | None:
        if name not in body:
            return None
        return JSONResponse({"error": {"message": message, "param": param}}, 400)

    return FakeUpstream(refuse=refuse)


@pytest.mark.parametrize(
    ("fake", "instead"),
    [
        (refusing("max_tokens", "Unsupported parameter: use 'max_completion_tokens' instead."), "max_completion_tokens"),
        (refusing("stream_options", "unknown field stream_options"), "max_tokens"),
    ],
)
async def test_another_form_is_learned_once(setup: Any, fake: FakeUpstream, instead: str) -> None:
    s = await setup(fake)
    for _ in range(2):
        assert text_of(await gathered(s.engine.ports.messages.chat(ASKED, Params(max_tokens=4), CALL))) == "hello world"
    first, second, third = s.fake.generations()
    assert second == third
    assert first != second
    assert second[instead] == 4


async def test_other_refusals_are_raised(setup: Any) -> None:
    s = await setup(refusing("temperature", "temperature must be 1", "temperature"))
    with pytest.raises(UpstreamError, match="temperature must be 1"):
        await gathered(s.engine.ports.messages.chat(ASKED, Params(temperature=0.0), CALL))
    assert len(s.fake.generations()) == 1


@pytest.mark.parametrize("refused", [True, False])
async def test_choices_of_an_upstream_without_n_are_asked_for_one_by_one(setup: Any, refused: bool) -> None:
    fake = refusing("n", "n is not supported", "n") if refused else FakeUpstream()
    s = await setup(fake)
    if not refused:
        s.fake.next_answers.append(lambda body: upstream.events(upstream.chat_chunks({**body, "n": 1}, "m")))
    deltas = await gathered(s.engine.ports.messages.chat(ASKED, Params(n=3, seed=7), CALL))
    assert [text_of(deltas, index) for index in range(3)] == ["hello world"] * 3
    assert [delta.usage for delta in deltas if delta.usage] == [Usage(15, 6)]
    asked, *singles = s.fake.generations()
    assert asked["n"] == 3
    assert sorted(body["seed"] for body in singles) == ([7, 8, 9] if refused else [8, 9])
    assert s.engine.capabilities.n == 1


async def test_a_prefill_is_refused_where_it_cannot_be_continued(setup: Any) -> None:
    s = await setup()
    assert not s.engine.capabilities.prefill
    with pytest.raises(RequestRefused, match="first words"):
        await gathered(s.engine.ports.messages.chat(Conversation(ASKED.messages, "Well"), Params(), CALL))
    with pytest.raises(RequestRefused, match="allowed_token_ids"):
        await gathered(s.engine.ports.messages.chat(ASKED, Params(allowed_token_ids=(1,)), CALL))


async def test_a_raw_prompt(setup: Any) -> None:
    s = await setup()
    text = Text((Segment("literal", "<|user|>"), Segment("content", "a<|user|>")), stops=("#",))
    deltas = await gathered(s.engine.ports.text.complete(text, Params(stop=("x",)), CALL))
    assert text_of(deltas) == "hello world"
    sent = s.fake.generations()[0]
    assert (sent["prompt"], sent["stop"], sent["max_tokens"]) == (f"<|user|>a<{BREAK}|user|>", ["x", "#"], None)


async def test_without_completions_there_is_no_text_port(setup: Any) -> None:
    s = await setup(FakeUpstream(completions=False))
    assert s.engine.ports.names() == {"messages"}


async def test_the_first_model_of_the_list_is_the_default_and_an_unknown_one_is_noted(setup: Any) -> None:
    s = await setup(model="other")
    await s.engine.wire.chat({"model": "mine", "messages": [{"role": "user", "content": "x"}]}, CALL)
    assert s.fake.generations()[0]["model"] == "other"
    assert "does not list the model 'other'" in " ".join(s.engine.capabilities.notes)


async def test_without_probing_nothing_is_asked(setup: Any) -> None:
    fake = FakeUpstream(vllm=True)
    s = await setup(fake, model="big-model", probe=False, max_model_len=99)
    assert s.engine.ports.names() == {"messages"}
    assert s.engine.capabilities.max_model_len == 99
    assert s.engine.tokenizer is None


async def test_an_upstream_without_models_needs_a_name(setup: Any) -> None:
    fake = FakeUpstream()
    fake.models = lambda request: JSONResponse({"data": []})  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="name one with `model`"):
        await setup(fake)


async def test_a_refused_key_stops_the_start(setup: Any) -> None:
    fake = FakeUpstream()
    fake.models = lambda request: JSONResponse({"error": "Unauthorized"}, 401)  # type: ignore[method-assign]
    with pytest.raises(UpstreamError, match="401: Unauthorized"):
        await setup(fake)


async def test_an_unreachable_upstream_stops_the_start() -> None:
    from trimtab.server.engines.upstream import UpstreamEngine
    from trimtab.server.settings import UpstreamConfig

    engine = UpstreamEngine(UpstreamConfig(url="http://127.0.0.1:9/v1", max_retries=0), name="mine")
    with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1:9"):
        await engine.start()
    await engine.close()


class TestVllm:
    """A vLLM server as upstream."""

    async def test_what_the_probe_finds(self, setup: Any) -> None:
        s = await setup(FakeUpstream(vllm=True))
        assert s.engine.ports.names() == {"messages", "text", "tokens"}
        assert s.engine.ports.tokens.eos_token_ids == {3}
        assert (s.engine.capabilities.max_model_len, s.engine.capabilities.prefill) == (2048, True)
        assert s.engine.capabilities.prompt_logprobs
        assert "version 0.32.0" in " ".join(s.engine.capabilities.notes)

    async def test_a_prefill_is_continued_and_the_cache_is_salted(self, setup: Any) -> None:
        s = await setup(FakeUpstream(vllm=True))
        await gathered(s.engine.ports.messages.chat(Conversation(ASKED.messages, "Well"), Params(), CALL))
        sent = s.fake.generations()[0]
        assert sent["messages"][-1] == {"role": "assistant", "content": "Well"}
        assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
        assert sent["cache_salt"] == "salt"

    async def test_encoding(self, setup: Any) -> None:
        tokens = (await setup(FakeUpstream(vllm=True))).engine.ports.tokens
        assert tokens.encode_chat(ASKED) == (1, 104, 105, 3, 10, 1)
        assert tokens.encode_chat(Conversation(ASKED.messages, "W")) == (1, 104, 105, 3, 10, 1, 87)
        assert tokens.encode_text(Text((Segment("content", "<s>"),), add_bos=False)) == tuple(map(ord, f"<{BREAK}s>"))
        assert tokens.decode((104, 105, 3)) == "hi"

    async def test_generation_by_ids(self, setup: Any) -> None:
        s = await setup(FakeUpstream(vllm=True))
        first, last = await gathered(s.engine.ports.tokens.generate([5, 6], Params(logprobs=0, ignore_eos=True), CALL))
        assert (first.token_ids, first.logprobs, first.text, first.finish_reason) == ((7, 3), (0.0, -0.5), "<7><3>", "stop")
        assert first.top_logprobs == ({7: 0.0}, {3: -0.5})
        assert last.cached_tokens == 1
        sent = s.fake.generations()[0]
        assert (sent["prompt"], sent["max_tokens"], sent["logprobs"], sent["ignore_eos"]) == ([5, 6], None, 0, True)

    async def test_log_probabilities_of_candidates(self, setup: Any) -> None:
        s = await setup(FakeUpstream(vllm=True))
        assert await s.engine.ports.tokens.next_logprobs([5], [9, 6, 8, 9], CALL) == (-0.9, 0.0, -0.8, -0.9)
        first, *others = s.fake.generations()
        assert (first["logprobs"], first["max_tokens"]) == (20, 1)
        assert [other["allowed_token_ids"] for other in others] == [[9], [8]]
        assert not any("logprob_token_ids" in sent for sent in s.fake.generations())

    async def test_the_tokenizer_face(self, setup: Any) -> None:
        tokenizer = (await setup(FakeUpstream(vllm=True))).engine.tokenizer
        assert tokenizer.tokenize_text("hi") == [1, 104, 105]
        assert tokenizer.tokenize_text("hi", add_special_tokens=False) == [104, 105]
        messages = [{"role": "user", "content": "<|x|>"}]
        assert tokenizer.tokenize_chat({"messages": messages, "model": "mine"})[1:3] == [ord("<"), ord(BREAK)]
        assert tokenizer.token_strings([1, 104]) == ["<1>", "h"]
        assert tokenizer.info() == {"tokenizer_class": "upstream", "eos_token": "<3>"}

    async def test_an_older_server_has_no_token_level(self, setup: Any) -> None:
        fake = FakeUpstream(vllm=True)
        fake.token_answer = lambda body: JSONResponse(upstream.whole(body, "big-model"))  # type: ignore[method-assign]
        s = await setup(fake)
        assert s.engine.ports.names() == {"messages", "text"}
        assert s.engine.tokenizer is not None
        assert "no token level" in json.dumps(s.engine.capabilities.notes)
