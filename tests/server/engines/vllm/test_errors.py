"""vLLM's errors in our terms; told by name, so that no vLLM is needed."""

import pytest
from pydantic import BaseModel, ValidationError

from trimtab.server.engines.vllm.errors import LONGEST_MESSAGE, from_exception, from_response
from trimtab.strategies.core.errors import (
    ContextLengthExceeded,
    EngineFailure,
    EngineUnavailable,
    RequestRefused,
    StrategyError,
)


class VLLMClientError(Exception): ...


class VLLMValidationError(VLLMClientError):
    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter

    def __str__(self) -> str:
        return f"{super().__str__()} (parameter={self.parameter}, value=3)"


class VLLMNotFoundError(VLLMClientError): ...


class EngineDeadError(Exception): ...


class EngineGenerateError(Exception): ...


class QueueOverflowError(Exception):
    http_status = 503


def test_a_wrong_value_names_its_field() -> None:
    error = from_exception(VLLMValidationError("top_p must be in (0, 1], got 3.", "top_p"), dead=False, prompt="messages")
    assert isinstance(error, RequestRefused)
    assert (error.param, str(error)) == ("top_p", "top_p must be in (0, 1], got 3.")


@pytest.mark.parametrize(("param", "named"), [("input_tokens", "messages"), (None, "messages"), ("max_tokens", "max_tokens")])
def test_too_long_is_told_apart(param: str | None, named: str) -> None:
    error = from_response("This model's maximum context length is 8", 400, param, dead=False, prompt="messages")
    assert isinstance(error, ContextLengthExceeded)
    assert error.param == named


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (EngineDeadError("x"), EngineUnavailable),
        (QueueOverflowError("full"), EngineUnavailable),
        (EngineGenerateError(), EngineFailure),
        (RuntimeError("x"), EngineFailure),
        (ValueError("x"), RequestRefused),
        (VLLMNotFoundError("x"), RequestRefused),
    ],
)
def test_kinds(raised: Exception, expected: type[StrategyError]) -> None:
    assert isinstance(from_exception(raised, dead=False, prompt="messages"), expected)


def test_everything_a_dead_engine_raises_is_unavailable() -> None:
    error = from_exception(RuntimeError("odd"), dead=True, prompt="messages")
    assert isinstance(error, EngineUnavailable)
    assert error.retry_after_s > 0
    assert isinstance(from_response("odd", 500, None, dead=True, prompt="messages"), EngineUnavailable)


def test_our_own_errors_stay() -> None:
    own = RequestRefused("no", param="x")
    assert from_exception(own, dead=False, prompt="messages") is own


def test_a_body_that_does_not_validate_names_the_path() -> None:
    class Body(BaseModel):
        seed: int

    with pytest.raises(ValidationError) as raised:
        Body.model_validate({"seed": "seven"})
    error = from_exception(raised.value, dead=False, prompt="messages")
    assert isinstance(error, RequestRefused)
    assert error.param == "seed"
    assert "seven" not in str(error)


def test_messages_are_bounded() -> None:
    assert len(str(from_response("x" * 10_000, 400, None, dead=False, prompt="messages"))) <= LONGEST_MESSAGE + 4
