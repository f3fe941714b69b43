"""The table of the error map, row by row, and the bounds of its messages."""

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tests.server.api.serving import scripted, serving
from trimtab.server.api.errors import error_object
from trimtab.server.api.interrupt import ClientGone
from trimtab.server.api.limits import OverRate
from trimtab.server.errors import BodyTooLarge, Forbidden, ModelNotFound, Overloaded, RateLimited, ServerError, Unauthenticated
from trimtab.strategies.core.errors import (
    BudgetExceeded,
    ConfigError,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    MissingCapability,
    MissingRole,
    RequestRefused,
    StrategyNotAllowed,
    UnknownStrategy,
    UpstreamError,
    UpstreamTimeout,
)

ROWS = [
    (RequestRefused("m", param="n"), 400, "invalid_request_error", "invalid_value"),
    (RequestRefused("m", code="unsupported_parameter"), 400, "invalid_request_error", "unsupported_parameter"),
    (RequestRefused("m", code="corpus_not_found"), 404, "invalid_request_error", "corpus_not_found"),
    (ConfigError("m"), 400, "invalid_request_error", "invalid_value"),
    (UnknownStrategy("m"), 400, "invalid_request_error", "unknown_strategy"),
    (MissingCapability("m"), 400, "invalid_request_error", "unsupported_by_engine"),
    (MissingRole("m"), 400, "invalid_request_error", "missing_role"),
    (ContextLengthExceeded("m"), 400, "invalid_request_error", "context_length_exceeded"),
    (Unauthenticated("m"), 401, "invalid_request_error", "invalid_api_key"),
    (Forbidden("m"), 403, "permission_error", "insufficient_scope"),
    (StrategyNotAllowed("m"), 403, "permission_error", "strategy_not_allowed"),
    (ModelNotFound("m", param="model"), 404, "invalid_request_error", "model_not_found"),
    (BodyTooLarge("m"), 413, "invalid_request_error", "request_too_large"),
    (RateLimited("m", retry_after_s=1), 429, "rate_limit_error", "rate_limit_exceeded"),
    (BudgetExceeded("m"), 429, "rate_limit_error", "insufficient_quota"),
    (DeadlineExceeded("m"), 504, "server_error", "alignment_deadline"),
    (UpstreamError("m", status=422), 422, "upstream_error", "upstream_error"),
    (UpstreamError("m", status=500), 502, "upstream_error", "upstream_error"),
    (UpstreamError("m", status=503), 502, "upstream_error", "upstream_error"),
    (UpstreamError("m", status=504), 504, "upstream_error", "upstream_timeout"),
    (UpstreamTimeout("m", status=504), 504, "upstream_error", "upstream_timeout"),
    (Overloaded("m", retry_after_s=1), 503, "server_error", "overloaded"),
    (EngineUnavailable("m"), 503, "server_error", "engine_unavailable"),
    (ClientGone("m"), 499, "invalid_request_error", "client_closed_request"),
    (EngineFailure("m"), 500, "server_error", "internal_error"),
    (ServerError("m"), 500, "server_error", "internal_error"),
    (HTTPException(405, headers={"Allow": "POST"}), 405, "invalid_request_error", "method_not_allowed"),
    (ZeroDivisionError("secret"), 500, "server_error", "internal_error"),
]


@pytest.mark.parametrize(("error", "status", "kind", "code"), ROWS, ids=lambda value: str(value)[:40])
def test_row(error: Exception, status: int, kind: str, code: str) -> None:
    got, body, _ = error_object(error)
    assert (got, body["error"]["type"], body["error"]["code"]) == (status, kind, code)
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_headers_say_whether_and_when_to_retry() -> None:
    assert error_object(DeadlineExceeded("m"))[2] == {"x-should-retry": "false"}
    assert error_object(BudgetExceeded("m"))[2] == {"x-should-retry": "false"}
    assert error_object(EngineUnavailable("m", retry_after_s=2.2))[2] == {"retry-after": "3"}
    assert error_object(RateLimited("m", retry_after_s=4000))[2] == {"retry-after": "120"}
    assert error_object(OverRate("m", retry_after_s=1, headers={"x-ratelimit-limit-requests": "5"}))[2] == {
        "retry-after": "1",
        "x-ratelimit-limit-requests": "5",
    }
    assert error_object(UpstreamError("m", status=429, retry_after="7"))[2] == {"retry-after": "7"}
    assert error_object(Unauthenticated("m"))[2] == {"www-authenticate": "Bearer"}


def test_an_upstream_error_object_is_kept_with_string_members() -> None:
    theirs = {"error": {"message": "too hot", "type": "BadRequestError", "param": "temperature", "code": 400}}
    status, body, _ = error_object(UpstreamError("upstream said no", status=400, body=theirs))
    assert status == 400
    assert body["error"] == {"message": "too hot", "type": "BadRequestError", "param": "temperature", "code": "400"}


def test_a_bug_tells_the_request_id_and_nothing_else() -> None:
    _, body, _ = error_object(ZeroDivisionError("secret"), request_id="req_1")
    assert "secret" not in body["error"]["message"]
    assert "req_1" in body["error"]["message"]


def test_validation_errors_are_400_with_a_dotted_param_and_bounded() -> None:
    faults = [
        {"type": "string_type", "loc": ("body", "messages", i, "content"), "msg": "x" * 5000, "input": "y" * 10_000}
        for i in range(50)
    ]
    status, body, _ = error_object(RequestValidationError(faults, body={"messages": [{"content": 1}] * 50}))
    assert status == 400
    assert body["error"]["param"] == "messages.0.content"
    assert len(body["error"]["message"]) <= 10_100
    assert "y" * 100 not in body["error"]["message"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/audio/speech", "endpoint_not_supported"),
        ("/v1/images/generations", "endpoint_not_supported"),
        ("/v1/fine_tuning/jobs", "endpoint_not_supported"),
        ("/v1/assistants", "endpoint_not_supported"),
        ("/v1/threads/t/runs", "endpoint_not_supported"),
        ("/v1/moderations", "endpoint_not_supported"),
        ("/v1/vector_stores", "endpoint_not_supported"),
        ("/v1/uploads", "endpoint_not_supported"),
        ("/v1/realtime/sessions", "endpoint_not_supported"),
        ("/v1/nonsense", "endpoint_not_supported"),
        ("/elsewhere", "not_found"),
    ],
)
async def test_unknown_paths(path: str, code: str) -> None:
    async with serving(scripted()) as server:
        for method in ("GET", "POST"):
            answer = await server.http.request(method, path)
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == code


async def test_a_wrong_method_is_a_405_that_names_the_right_one() -> None:
    async with serving(scripted()) as server:
        answer = await server.http.get("/v1/chat/completions")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"{", "application/json", "invalid_json"),
        (b'{"a": NaN}', "application/json", "invalid_json"),
        (b'{"a": "\\ud800"}', "application/json", "invalid_json"),
        (b"[" * 5000, "application/json", "invalid_json"),
        (b"\xff\xfe", "application/json", "invalid_json"),
        (b"", "application/json", "invalid_json"),
        (b"[1]", "application/json", "invalid_value"),
        (b"{}", "application/json; charset=utf-8", "invalid_value"),
        (b"{}", "text/plain", "invalid_value"),
        (b"{}", "", "invalid_value"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize"])
async def test_a_body_that_is_no_request(path: str, body: bytes, kind: str, code: str) -> None:
    async with serving(scripted()) as server:
        answer = await server.http.post(path, content=body, headers={"content-type": kind})
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        if path not in {"/v1/embeddings", "/tokenize"}:
            assert answer.json()["error"]["code"] == code
