"""The default encoder, compared with sentence-transformers' own path."""

from pathlib import Path

import numpy as np
import pytest

from trimtab.retrieval.documents import Document
from trimtab.retrieval.encoder import Encoder, EncoderInputError
from trimtab.retrieval.library import Library

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


def test_spans_say_where_the_tokens_lie(encoder: Encoder) -> None:
    text = "Unbelievable,  caf\u00e9 cats!"
    spans = encoder.spans(text)
    assert len(spans) == len(encoder.token_ids([text])[0]) - 2
    assert [text[start:stop] for start, stop in spans][-3:] == ["caf\u00e9", "cats", "!"]
    assert encoder.spans(" ") == []
    assert len(encoder.spans("word " * 400)) == 400
    assert encoder.window == 254


def test_a_long_document_is_found_by_its_end(encoder: Encoder, tmp_path: Path) -> None:
    """400 sentences of filler, then one on vaccines: the encoder alone reads 254 tokens, the corpus all of them."""

    class Source:
        default = encoder.name

        def get(self, name: str) -> Encoder:
            assert name == encoder.name
            return encoder

    corpus = Library(tmp_path, Source()).create("norms")
    filler = " ".join(f"Paint fence number {number} green before the guests arrive." for number in range(400))
    corpus.put(
        [
            Document("long", f"{filler} Vaccines must be kept cold on the way to the clinic."),
            Document("short", "Ring the bell at noon."),
        ]
    )
    hits = corpus.search("How do I transport a vaccine?", 2)
    assert [hit.document.id for hit in hits] == ["long", "short"]
    assert "Vaccines must be kept cold" in hits[0].text
    assert hits[0].text[0] == "P"
    assert len(encoder.spans(hits[0].text)) <= encoder.window
    assert corpus.info().encoder == "all-MiniLM-L6-v2"


def test_a_query_and_a_batch_leave_the_threads_as_they_were(encoder: Encoder) -> None:
    import torch

    before = torch.get_num_threads()
    alone = encoder.encode(["Ring the bell at noon."])
    assert torch.get_num_threads() == before
    among = encoder.encode([*["Paint the fence green before the guests arrive."] * 8, "Ring the bell at noon."])
    assert abs(alone[0] - among[-1]).max() < 1e-5
    assert torch.get_num_threads() == before
