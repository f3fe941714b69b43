"""/v1/embeddings with the real default encoder, through openai-python."""

import base64
from typing import Any

import numpy as np
import openai
import pytest

from tests.server.api.serving import scripted, serving
from trimtab.retrieval.encoder import Encoder

TEXTS = ["A cat sleeps.", "The kitten is asleep on the sofa.", "Tax law of 1913"]
MODEL = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    encoder = Encoder()
    encoder.load()
    return encoder


async def test_base64_and_float_agree_with_the_encoder(encoder: Encoder) -> None:
    async with serving(scripted()) as server:
        # openai-python asks for base64 unless told otherwise
        default = await server.openai.embeddings.create(model=MODEL, input=TEXTS)
        floats = await server.openai.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
        raw = await server.http.post("/v1/embeddings", json={"input": TEXTS[0], "encoding_format": "base64"})
    expected = encoder.encode(TEXTS)
    np.testing.assert_allclose([one.embedding for one in default.data], expected, atol=2e-6)
    np.testing.assert_allclose([one.embedding for one in floats.data], expected, atol=2e-6)
    assert [one.index for one in floats.data] == [0, 1, 2]
    assert floats.model == MODEL
    assert floats.usage.prompt_tokens == sum(map(len, encoder.token_ids(TEXTS))) == floats.usage.total_tokens
    bytes_ = base64.b64decode(raw.json()["data"][0]["embedding"])
    np.testing.assert_allclose(np.frombuffer(bytes_, dtype="<f4"), expected[0], atol=2e-6)


async def test_token_ids_are_inputs(encoder: Encoder) -> None:
    ids = encoder.token_ids(TEXTS)
    async with serving(scripted()) as server:
        one = await server.openai.embeddings.create(model=MODEL, input=ids[0], encoding_format="float")
        all_ = await server.openai.embeddings.create(model=MODEL, input=ids, encoding_format="float")
    np.testing.assert_allclose([item.embedding for item in all_.data], encoder.encode(TEXTS), atol=2e-6)
    np.testing.assert_allclose(one.data[0].embedding, all_.data[0].embedding, atol=2e-6)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": []}, "input", "invalid_value"),
        ({}, "input", "invalid_value"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value"),
        ({"input": "a", "dimensions": 64}, "dimensions", "invalid_value"),
        ({"input": ["a", "word " * 400]}, "input.1", "context_length_exceeded"),
        ({"input": [[101], [10**6]]}, "input.1", "invalid_value"),
        ({"input": ["a"] * 2049}, "input", "invalid_value"),
    ],
)
async def test_bad_inputs_name_the_field(body: dict[str, Any], param: str, code: str) -> None:
    async with serving(scripted()) as server:
        answer = await server.http.post("/v1/embeddings", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


async def test_long_inputs_are_cut_only_where_asked(encoder: Encoder) -> None:
    long = "word " * 400
    async with serving(scripted()) as server:
        answer = await server.http.post("/v1/embeddings", json={"input": long, "truncate_prompt_tokens": -1})
    assert answer.json()["usage"]["prompt_tokens"] == 256
    np.testing.assert_allclose(answer.json()["data"][0]["embedding"], encoder.encode([long])[0], atol=2e-6)


async def test_its_own_width_is_allowed_as_dimensions() -> None:
    async with serving(scripted()) as server:
        answer = await server.openai.embeddings.create(model=MODEL, input="a", dimensions=384)
    assert len(answer.data[0].embedding) == 384


@pytest.mark.parametrize("model", ["no-such-model", "org/test-model"])
async def test_models_that_do_not_embed_are_404(model: str) -> None:
    async with serving(scripted()) as server:
        with pytest.raises(openai.NotFoundError) as caught:
            await server.openai.embeddings.create(model=model, input="a")
    assert caught.value.code == "model_not_found"
    assert MODEL in caught.value.message
