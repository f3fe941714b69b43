"""The default encoder, compared with sentence-transformers' own path."""

import numpy as np
import pytest

from trimtab.retrieval.encoder import Encoder, EncoderInputError

TEXTS = ["A cat sleeps.", "", "The kitten is asleep on the sofa, as it always is after lunch.", "Tax law of 1913", "naïve café"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    encoder = Encoder()
    encoder.load()
    return encoder


def test_equals_sentence_transformers(encoder: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    from trimtab.artifacts import resolve

    reference = SentenceTransformer(str(resolve("all-MiniLM-L6-v2").path), device="cpu")
    long = "word " * 400
    expected = reference.encode([*TEXTS, long], normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(encoder.encode([*TEXTS, long]), expected, atol=2e-6)


def test_vectors_are_unit_float32_in_the_order_of_the_texts(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=2e-6)


def test_near_meanings_are_near(encoder: Encoder) -> None:
    cat, _, kitten, tax, _ = encoder.encode(TEXTS)
    assert cat @ kitten > 0.5 > cat @ tax


def test_ids_are_the_same_as_their_text(encoder: Encoder) -> None:
    ids = encoder.token_ids(TEXTS)
    assert ids[0][0] == 101  # [CLS]
    assert ids[0][-1] == 102  # [SEP]
    np.testing.assert_allclose(encoder.encode_ids(ids), encoder.encode(TEXTS), atol=2e-6)


def test_limits(encoder: Encoder) -> None:
    assert encoder.max_tokens == 256
    assert encoder.nested_dimensions == ()
    long = encoder.token_ids(["word " * 400])
    assert len(long[0]) == 402
    assert len(encoder.token_ids(["word " * 400], limit=256)[0]) == 256
    with pytest.raises(EncoderInputError, match="1 to 256 tokens, this has 402"):
        encoder.encode_ids(long)
    with pytest.raises(EncoderInputError, match="between 0 and 30521") as caught:
        encoder.encode_ids([[101, 102], [30522]])
    assert caught.value.index == 1


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)
