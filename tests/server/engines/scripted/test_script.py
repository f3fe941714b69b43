"""The script: small values that fit a schema, and schemas that nothing fits."""

from typing import Any

import pytest

from trimtab.server.engines.scripted.script import minimal_instance
from trimtab.strategies.core.errors import RequestRefused


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 3}}}, {"a": 3}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"enum": ["red", "blue"]}}}, "red"),
        ({"type": ["array", "null"], "minItems": 2, "items": {"type": "boolean"}}, [False, False]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": "object", "required": ["a", 5], "properties": {"a": None}}, {"a": "a"}),
        ({"type": "object", "required": 5, "properties": []}, {}),
    ],
)
def test_a_small_value_fits(schema: dict[str, Any], value: object) -> None:
    assert minimal_instance(schema) == value


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "string", "minLength": 10**12},
        {"type": "array", "minItems": "many"},
    ],
)
def test_a_schema_that_nothing_fits_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused, match="cannot follow"):
        minimal_instance(schema)
