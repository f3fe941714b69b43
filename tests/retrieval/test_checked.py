"""Documents that cannot be stored are refused by name."""

from typing import Any

import pytest

from trimtab.retrieval.checked import check, content_id
from trimtab.retrieval.documents import Document
from trimtab.retrieval.errors import InvalidDocument


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"valid_from": "2026-1-1"}, "metadata.valid_from must be a day such as 2026-01-31, not '2026-1-1'"),
        ({"valid_from": "2026-02-30"}, "valid_from must be a day"),
        ({"valid_until": 20260101}, "valid_until must be a day"),
        ({"valid_from": "2026-02-01", "valid_until": "2026-01-01"}, "valid_from 2026-02-01 is after valid_until 2026-01-01"),
        ({"trust": "high"}, "metadata.trust must be one of untrusted, reviewed, trusted, not 'high'"),
        ({"tags": ["a", 1]}, "metadata.tags must be a string or a list of strings"),
        ({"tags": [" "]}, "metadata.tags must be"),
        ({"jurisdiction": {"a": 1}}, "metadata.jurisdiction must be"),
        ({"answer": 3}, "metadata.answer must be a string, not 3"),
        ({"source": ["x"]}, "metadata.source must be a string"),
        ({"x": float("nan")}, "metadata.x must be a JSON value, not nan"),
        ({"x": {"y": [b"z"]}}, r"metadata.x.y\[0\] must be a JSON value"),
        ({"x": {1: 2}}, "metadata.x has a member named 1; names are strings"),
        ({"x": "\udc00"}, "metadata.x is no valid Unicode: a lone surrogate at character 0"),
        ({"x": [[[[[[[[[1]]]]]]]]]}, "nested more than 8 deep"),
        ({"x": "y" * 300_000}, "metadata must have at most 262144 bytes as JSON"),
    ],
)
def test_metadata(metadata: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidDocument, match=reason) as caught:
        check(Document("d1", "text", metadata), 4)
    assert str(caught.value).startswith("document 'd1': ")
    assert caught.value.index == 4


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (Document("", "text"), "id must not be empty"),
        (Document("x" * 257, "text"), "id must have at most 256 characters, this has 257"),
        (Document(7, "text"), "id must be a string, not int"),  # type: ignore[arg-type]
        (Document("d", "\n "), "text must not be empty"),
        (Document("d", "x" * 1_000_001), "text must have at most 1000000 characters, this has 1000001"),
        (Document("d", "a\ud800"), "text is no valid Unicode: a lone surrogate at character 1"),
    ],
)
def test_id_and_text(document: Document, reason: str) -> None:
    with pytest.raises(InvalidDocument, match=reason):
        check(document)


def test_what_is_fine_comes_back_as_it_was() -> None:
    metadata = {"tags": "a", "valid_from": None, "trust": "trusted", "level": 1.5, "deep": {"a": [True, None]}, "empty": ()}
    checked = check(Document("d", "text", metadata))
    assert checked.document.metadata == metadata
    assert (
        checked.metadata == '{"tags":"a","valid_from":null,"trust":"trusted","level":1.5,"deep":{"a":[true,null]},"empty":[]}'
    )


def test_an_id_follows_from_the_content() -> None:
    assert content_id("a") == content_id("a") != content_id("b")
    assert content_id("a", "b") != content_id("a")
