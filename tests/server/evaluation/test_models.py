"""Likelihoods under an alignment equal the model's own; letters are read behind the shaped prompt; rewards and chats."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.server.engines.transformers.checkpoints import write_llama
from tests.server.services import service_of
from tests.strategies.doubles import ListEngine
from trimtab.artifacts import resolve
from trimtab.server.engines.base import Engine
from trimtab.server.engines.prompt_scores import PromptLogprob
from trimtab.server.engines.scripted import ScriptedEngine
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.evaluation.likelihoods import ServiceLikelihoods
from trimtab.server.evaluation.models import PortChat, PortRewards, chat_on, judge_of, rewards_of
from trimtab.server.evaluation.records import Alignment
from trimtab.server.evaluation.scorers.base import ScorerError, Undefined
from trimtab.server.evaluation.scorers.choices import LAYOUTS, asked
from trimtab.server.models import Registry, ServedModel
from trimtab.server.service import Service
from trimtab.server.settings import ScriptedConfig, Settings, TransformersConfig
from trimtab.strategies.core.engine import Call, Capabilities, Ports
from trimtab.strategies.core.errors import UpstreamError
from trimtab.strategies.core.messages import Conversation, Text

TURNS = ({"role": "user", "content": "What do bees make?"},)
ANSWERS = ("Honey, and wax.", "\nNothing.", "Ünïcode")
PLAIN = Alignment(name="plain", spec="plain")
KIND = Alignment(name="kind", spec=[{"kind": "value_prompt", "principles": ["Be kind."]}])
RAW = Alignment(name="urial", spec="urial")


def serving(engine: Engine, name: str = "m", **roles: Engine) -> Service:
    return Service(Settings(), Registry({name: ServedModel(name, engine, 1)}), roles)


def reference(path: Path, before: Sequence[int], after: Sequence[int]) -> float:
    """The sum of log-probabilities of ids behind others, by transformers alone, in float32."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    ids = torch.tensor([[*before, *after]])
    with torch.inference_mode():
        logprobs = model(ids).logits[0].float().log_softmax(-1)
    return float(logprobs[range(len(before) - 1, ids.shape[1] - 1), ids[0, len(before) :]].sum())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama with random weights: a token a byte, and `<|im_end|>` behind each turn."""
    return write_llama(tmp_path_factory.mktemp("tiny"), 0, max_position_embeddings=4096)


@pytest.fixture
async def tiny(path: Path) -> AsyncIterator[Service]:
    engine = TransformersEngine(path, TransformersConfig(dtype="float32", device="cpu"), name="m")
    service = serving(engine)
    await service.start()
    yield service
    await service.close()


@pytest.mark.parametrize("alignment", [PLAIN, KIND])
async def test_a_completion_behind_the_shaped_prompt_is_as_likely_as_the_model_says(
    tiny: Service, path: Path, alignment: Alignment
) -> None:
    likelihoods = ServiceLikelihoods(tiny, "m")
    tokenizer = AutoTokenizer.from_pretrained(path)
    shaped = await likelihoods.prompt(alignment, TURNS)
    assert isinstance(shaped, Conversation)
    assert ("Be kind." in str(shaped.wire())) == (alignment is KIND)
    before = tokenizer.apply_chat_template(shaped.wire(), add_generation_prompt=True, return_dict=False)
    for answer, found in zip(ANSWERS, await likelihoods.logps(alignment, TURNS, ANSWERS), strict=True):
        after = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        assert found.tokens == len(after) == len(answer.encode()) + 1
        assert found.logp == pytest.approx(reference(path, before, after), abs=1e-4)


async def test_a_raw_prompt_has_no_end_of_turn(tiny: Service, path: Path) -> None:
    likelihoods = ServiceLikelihoods(tiny, "m")
    shaped = await likelihoods.prompt(RAW, TURNS)
    assert isinstance(shaped, Text)
    tokenizer = AutoTokenizer.from_pretrained(path)
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (shaped.text, ANSWERS[0]))
    (found,) = await likelihoods.logps(RAW, TURNS, ANSWERS[:1])
    assert found.tokens == len(after)
    assert found.logp == pytest.approx(reference(path, [tokenizer.bos_token_id, *before], after), abs=1e-4)


async def test_raw_text_counts_behind_the_beginning_of_the_sequence(tiny: Service, path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(path)
    (found, empty) = await ServiceLikelihoods(tiny, "m").text_logps(["Bees make honey.", ""])
    after = tokenizer("Bees make honey.", add_special_tokens=False)["input_ids"]
    assert found.logp == pytest.approx(reference(path, [tokenizer.bos_token_id], after), abs=1e-4)
    assert (found.tokens, empty.tokens) == (len(after), 0)


@pytest.mark.slow
async def test_on_the_default_model_it_is_what_transformers_computes() -> None:
    path = resolve("smollm2-135m-instruct").path
    service = serving(TransformersEngine(path, TransformersConfig(dtype="float32", device="cpu"), name="m"))
    await service.start()
    tokenizer = AutoTokenizer.from_pretrained(path)
    before = tokenizer.apply_chat_template(list(TURNS), add_generation_prompt=True, return_dict=False)
    for answer, found in zip(ANSWERS, await ServiceLikelihoods(service, "m").logps(PLAIN, TURNS, ANSWERS), strict=True):
        whole = tokenizer.apply_chat_template([*TURNS, {"role": "assistant", "content": answer}], return_dict=False)
        after = whole[len(before) : whole.index(tokenizer.convert_tokens_to_ids("<|im_end|>"), len(before)) + 1]
        if whole[: len(before)] != before:  # "\n\n" is one token: what stands behind the prompt is encoded by itself
            after = [*tokenizer(answer)["input_ids"], tokenizer.convert_tokens_to_ids("<|im_end|>")]
        assert found.tokens == len(after)
        assert found.logp == pytest.approx(reference(path, before, after), abs=1e-4)
    await service.close()


@pytest.mark.parametrize(
    ("spec", "step"), [("best_of_n", "best_of_n"), (["norms", "critique_refine"], "critique_refine"), ("rain", "rain")]
)
async def test_what_searches_or_revises_is_undefined_and_named(spec: object, step: str) -> None:
    service = service_of()
    await service.start()
    with pytest.raises(Undefined, match=f"{step} searches or revises"):
        await ServiceLikelihoods(service, "double").logps(Alignment(name="a", spec=spec), TURNS, ANSWERS)


async def test_an_engine_without_log_probabilities_is_refused() -> None:
    engine = ScriptedEngine(ScriptedConfig(), name="m")
    engine.ports = Ports(messages=engine, capabilities=Capabilities())
    with pytest.raises(ScorerError, match=r"the engine of 'm' \(scripted\) shows no log-probabilities"):
        ServiceLikelihoods(serving(engine), "m")


class Merging(ScriptedEngine):
    """Merges the end of a prompt with an answer that begins with a space, as some tokenizers do."""

    def __init__(self) -> None:
        super().__init__(ScriptedConfig(), name="m")
        self.scored: list[tuple[int, ...]] = []

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        ids = super().encode_chat(conversation)
        merged = (conversation.prefill or "").startswith(" ")
        return tuple(0 if merged and token == ord("\n") else token for token in ids)

    async def prompt_logprobs(self, token_ids: Sequence[int], top: int, call: Call) -> list[PromptLogprob | None]:
        self.scored.append(tuple(token_ids))
        return await super().prompt_logprobs(token_ids, top, call)


async def test_the_prompt_is_never_changed_by_what_stands_behind_it() -> None:
    engine = Merging()
    service = serving(engine)
    await service.start()
    found = await ServiceLikelihoods(service, "m").logps(PLAIN, TURNS, ["honey", " honey"])
    before = engine.encode_chat(Conversation.from_wire(TURNS))
    assert engine.scored == [(*before, *b"honey"), (*before, *b" honey")]
    assert [likelihood.tokens for likelihood in found] == [5, 6]


async def test_an_empty_completion_has_no_tokens() -> None:
    service = service_of()
    await service.start()
    (found,) = await ServiceLikelihoods(service, "double").logps(PLAIN, TURNS, [""])
    assert (found.logp, found.tokens) == (0.0, 0)


class Lettered(ScriptedEngine):
    """Remembers behind which text letters were read, and prefers the last one."""

    def __init__(self) -> None:
        super().__init__(ScriptedConfig(), name="m")
        self.read: list[str] = []

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        self.read.append(self.decode(prompt_token_ids))
        return tuple(float(token - candidates[-1]) for token in candidates)


@pytest.mark.parametrize(
    ("alignment", "ending"),
    [
        (PLAIN, "assistant\nThe right option is: ("),
        (KIND, "assistant\nThe right option is: ("),
        (RAW, "The right option is: ("),
        (Alignment(name="led", spec=[{"kind": "value_prompt", "answer_lead_in": "I choose ("}]), "assistant\nI choose ("),
    ],
)
async def test_letters_are_read_behind_the_shaped_prompt(alignment: Alignment, ending: str) -> None:
    engine = Lettered()
    service = serving(engine)
    await service.start()
    options = ("milk", "honey")
    found = await ServiceLikelihoods(service, "m").letters(
        alignment, TURNS, LAYOUTS, lambda layout: asked("What do bees make?", options, layout), 2
    )
    assert found == (-1.0, 0.0)
    (prompt,) = engine.read
    assert prompt.endswith(ending)
    assert "(A) milk\n(B) honey" in prompt
    assert ("Be kind." in prompt) == (alignment is KIND)


async def test_rewards_are_those_of_the_role() -> None:
    engine = ScriptedEngine(ScriptedConfig(), name="rm")
    service = serving(ScriptedEngine(ScriptedConfig(), name="m"), reward=engine)
    await service.start()
    turns = [*TURNS, {"role": "assistant", "content": "Honey."}]
    expected = await engine.score([Conversation.from_wire(turns)], Call("r"))
    assert tuple(await rewards_of(service).score([turns])) == expected
    assert isinstance(rewards_of(service), PortRewards)


def test_a_missing_reward_model_is_named() -> None:
    with pytest.raises(ScorerError, match="--role reward="):
        rewards_of(service_of())
    engine = ScriptedEngine(ScriptedConfig(), name="rm")
    engine.ports = Ports(messages=engine)
    with pytest.raises(ScorerError, match="gives no scores"):
        rewards_of(serving(engine, reward=engine))


def test_the_judge_is_the_role_or_the_model_itself() -> None:
    own, other = (ScriptedEngine(ScriptedConfig(), name=name) for name in ("m", "judge"))
    assert judge_of(serving(own)) == (own.ports, "m")
    assert judge_of(serving(own, judge=other)) == (other.ports, "judge")


async def test_a_chat_asks_greedily() -> None:
    engine = ListEngine(["one two"])
    chat = chat_on(Ports(messages=engine), "judge")
    assert await chat.ask(TURNS, max_tokens=7, seed=3) == "one two"
    assert (engine.params[0].max_tokens, engine.params[0].temperature, engine.params[0].seed) == (7, 0.0, 3)
    assert engine.asked == [Conversation.from_wire(TURNS)]


async def test_an_engine_without_seeds_is_not_sent_one() -> None:
    engine = ListEngine(["one"])
    await chat_on(Ports(messages=engine, capabilities=Capabilities(seed=False)), "judge").ask(TURNS, max_tokens=7, seed=3)
    assert engine.params[0].seed is None


class NoGreed(ListEngine):
    """A server that refuses a temperature of its own."""

    def chat(self, conversation, params, call):  # type: ignore[no-untyped-def]
        if params.temperature is not None:
            self.params.append(params)
            raise UpstreamError("the upstream answered 400: temperature is not supported", status=400)
        return super().chat(conversation, params, call)


async def test_a_server_that_fixes_its_temperature_is_asked_without_one() -> None:
    engine = NoGreed(["one", "two"])
    chat = PortChat(engine, "judge")
    assert [await chat.ask(TURNS, max_tokens=7, seed=0), await chat.ask(TURNS, max_tokens=7, seed=0)] == ["one", "two"]
    assert [params.temperature for params in engine.params] == [0.0, None, None]


async def test_other_refusals_are_raised() -> None:
    class Broke(ListEngine):
        def chat(self, conversation, params, call):  # type: ignore[no-untyped-def]
            raise UpstreamError("the upstream answered 402: no credit", status=402)

    with pytest.raises(UpstreamError, match="402"):
        await PortChat(Broke([]), "judge").ask(TURNS, max_tokens=7, seed=0)
