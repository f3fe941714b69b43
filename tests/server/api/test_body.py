"""Bodies: what is JSON here."""

import pytest

from trimtab.server.api.body import MAX_MEMBERS, parse_object
from trimtab.strategies.core.errors import RequestRefused


def test_an_object() -> None:
    assert parse_object('{"a": [1, 2.5, "é", null], "b": {}}'.encode()) == {"a": [1, 2.5, "é", None], "b": {}}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\\ud800"}',
        b'{"alignment": {"strategy": "x"}, "alignment": {"strategy": "plain"}}',
        b'{"a": {"b": 1, "b": 2}}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "cut", "nan", "infinity", "surrogate", "twice", "twice inside", "deep", "huge number"],
)
def test_what_is_no_json_here(raw: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_object(raw)
    assert caught.value.code == "invalid_json"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("raw", [b"[]", b"null", b"true", b"5", b'"x"'])
def test_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(RequestRefused, match="must be a JSON object"):
        parse_object(raw)


def test_a_flood_of_members_is_refused() -> None:
    body = ",".join(f'"f{index}":1' for index in range(MAX_MEMBERS + 1))
    with pytest.raises(RequestRefused, match=f"allowed are {MAX_MEMBERS}"):
        parse_object(f"{{{body}}}".encode())
