"""A handful of checks on the real default model, in float32, and on the catalogue's base model."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.server.engines.transformers.conftest import started
from tests.server.engines.transformers.running import call, generated, one
from trimtab.artifacts import LicenceNotAccepted, resolve
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.model import LoadedModel, load
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Conversation, Message, Segment, Text

QUESTIONS = ("What is the capital of France?", "Write one sentence about the sea, with an emoji.", "Count from one to five.")


@pytest.fixture(scope="module")
def default() -> Iterator[TransformersEngine]:
    engine = started(resolve("smollm2-135m-instruct").path)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def default_model() -> LoadedModel:
    return load(resolve("smollm2-135m-instruct").path, TransformersConfig(dtype="float32", device="cpu"))


def conversation(question: str) -> Conversation:
    return Conversation((Message("user", question),))


async def test_alone_it_is_generate(default: TransformersEngine, default_model: LoadedModel) -> None:
    for question in QUESTIONS[:2]:
        ids = default.encode_chat(conversation(question))
        sample = await one(default, ids, Params(temperature=0.0, max_tokens=16))
        assert sample.ids == generated(default_model, ids, 16)


async def test_company_streams_and_whole_answers_agree(default: TransformersEngine) -> None:
    params = Params(temperature=0.0, max_tokens=10)

    async def text_of(question: str, salt: str) -> str:
        stream = default.chat(conversation(question), params, call(salt=salt))
        return "".join([delta.text async for delta in stream])

    alone = [await text_of(question, "alone") for question in QUESTIONS]
    together = await asyncio.gather(*(text_of(question, "together") for question in QUESTIONS))
    assert alone == list(together)
    assert "Paris" in alone[0]


async def test_prefill(default: TransformersEngine) -> None:
    opened = Conversation((Message("user", QUESTIONS[0]),), prefill="The capital of France is")
    deltas = [delta async for delta in default.chat(opened, Params(temperature=0.0, max_tokens=3), call())]
    assert "".join(delta.text for delta in deltas).startswith(" Paris")


@pytest.mark.slow
async def test_the_base_model_of_the_catalogue() -> None:
    try:
        path = resolve("gemma3-270m-base").path
    except LicenceNotAccepted as refusal:
        pytest.skip(str(refusal))
    engine = TransformersEngine(path, TransformersConfig(dtype="float32", device="cpu"), name="gemma")
    await engine.start()
    reference = load(path, TransformersConfig(dtype="float32", device="cpu"))
    texts = ["The capital of France is", "One, two, three, four,"]
    prompts = [engine.encode_text(Text((Segment("content", text),))) for text in texts]
    samples = await asyncio.gather(*(one(engine, ids, Params(temperature=0.0, max_tokens=12)) for ids in prompts))
    assert [sample.ids for sample in samples] == [generated(reference, ids, 12) for ids in prompts]
    assert all(sample.text.startswith(" ") for sample in samples), "the leading space is kept"
    await engine.close()
