"""The OpenAPI document, thrown at the server by schemathesis: whatever it allows or forbids, no answer is a 5xx."""

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.contracts.servers import Live, serving

EXAMPLES = int(os.environ.get("TRIMTAB_SCHEMA_EXAMPLES", "40"))
"""Examples an operation; the slow check of a release raises it."""


@pytest.fixture(scope="module")
def scripted() -> Iterator[Live]:
    with serving({"models": {"double": {"engine": {"kind": "scripted"}}}}) as live:
        yield live


@pytest.fixture(scope="module")
def api(scripted: Live) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{scripted.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_operation_fails(case: schemathesis.Case) -> None:
    answer = case.call(timeout=60)
    case.validate_response(answer, checks=[not_a_server_error], excluded_checks=[response_schema_conformance])


def test_the_server_is_still_well(scripted: Live) -> None:
    assert scripted.process.poll() is None
    body = {"model": "double", "messages": [{"role": "user", "content": "hi"}]}
    assert scripted.exchange("/v1/chat/completions", body)[0] == 200
