"""The OpenAPI document, thrown at the server by schemathesis: whatever it allows or forbids, no answer is a 5xx."""

import contextlib
import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode

from tests.contracts.servers import Live, serving

EXAMPLES = int(os.environ.get("TRIMTAB_SCHEMA_EXAMPLES", "15"))
"""Examples an operation and mode; the slow check of a release raises it."""

CORPUS = "house"


@pytest.fixture(scope="module")
def scripted() -> Iterator[Live]:
    with serving({"models": {"double": {"engine": {"kind": "scripted"}}}}) as live:
        yield live


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_operation_fails(scripted: Live, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{scripted.url}/openapi.json")
    checked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        scripted.exchange("/v1/corpora", {"name": CORPUS})  # there again, should an operation have deleted it

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def check(case: schemathesis.Case) -> None:
            if case.path.startswith("/v1/corpora/{name}"):
                case.path_parameters["name"] = CORPUS  # a name out of the air leads to no corpus
            case.validate_response(case.call(timeout=60), checks=[not_a_server_error])

        with contextlib.suppress(Unsatisfiable):  # a route without parameters forbids nothing
            check()
            checked += 1
    assert checked >= 6


def test_the_server_is_still_well(scripted: Live) -> None:
    assert scripted.process.poll() is None
    body = {"model": "double", "messages": [{"role": "user", "content": "hi"}]}
    assert scripted.exchange("/v1/chat/completions", body)[0] == 200
