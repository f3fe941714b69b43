"""The alignment object of requests and answers, typed, and OpenAI's answer classes with it."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypedDict, TypeVar, cast

from openai import BaseModel
from openai.types import Completion as OpenAICompletion
from openai.types.chat import ChatCompletion as OpenAIChatCompletion
from openai.types.chat import ChatCompletionChunk as OpenAIChatCompletionChunk
from openai.types.chat import ParsedChatCompletion as OpenAIParsedChatCompletion
from openai.types.responses import Response as OpenAIResponse
from pydantic import Field

T = TypeVar("T")


class Budget(TypedDict, total=False):
    """What a request may spend."""

    max_calls: int
    max_tokens: int
    deadline_ms: int


class AlignmentRequest(TypedDict, total=False):
    """The body's `alignment` object."""

    strategy: str | Sequence[str | Mapping[str, Any]] | Mapping[str, Any]
    budget: Budget
    on_error: Literal["closed", "open", "degrade"]
    trace: Literal["none", "summary", "full"]
    usage_mode: Literal["total", "final"]


Alignment = str | Sequence[str | Mapping[str, Any]] | AlignmentRequest | Mapping[str, Any]
"""A strategy's or pipeline's name, a list of steps, a step `{"kind": ...}`, or the whole object."""


def as_request(alignment: Alignment) -> dict[str, Any]:
    """The body's `alignment` object."""
    if isinstance(alignment, Mapping):
        return {"strategy": [dict(alignment)]} if "kind" in alignment else dict(alignment)
    return {"strategy": alignment if isinstance(alignment, str) else list(alignment)}


class AlignmentStep(BaseModel):
    """What one step of the pipeline did; strategies add details of their own."""

    strategy: str
    role: str | None = None
    status: str | None = None
    reason: str | None = None
    ms: float | None = None
    calls: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class AlignmentUsage(BaseModel):
    """What the answer cost, by role."""

    final: dict[str, Any] | None = None
    """Tokens of the call that gave the answer."""
    by_role: dict[str, Any] | None = None
    calls: int | None = None
    discarded_tokens: int | None = None


class AlignmentResult(BaseModel):
    """The `alignment` object of an answer. Parsed leniently, as openai-python's own types: unknown members are kept."""

    strategy: Any = None
    status: str
    """applied, skipped, degraded or failed."""
    changed: bool | None = None
    steps: list[AlignmentStep] = Field(default_factory=list)
    usage: AlignmentUsage | None = None
    warnings: list[str] = Field(default_factory=list)
    trace_id: str | None = None


class ChatCompletion(OpenAIChatCompletion):
    """An answer; `alignment` is None where the request was passed through."""

    alignment: AlignmentResult | None = None


class ChatCompletionChunk(OpenAIChatCompletionChunk):
    """A chunk; `alignment` is set on the last one of an aligned answer."""

    alignment: AlignmentResult | None = None


class ParsedChatCompletion(OpenAIParsedChatCompletion[T], Generic[T]):
    """An answer parsed into the caller's own class."""

    alignment: AlignmentResult | None = None


class Completion(OpenAICompletion):
    """A completion of a raw prompt."""

    alignment: AlignmentResult | None = None


class Response(OpenAIResponse):
    """An answer of `/v1/responses`."""

    alignment: AlignmentResult | None = None


ALIGNED: dict[object, type[BaseModel]] = {
    OpenAIChatCompletion: ChatCompletion,
    OpenAIChatCompletionChunk: ChatCompletionChunk,
    OpenAICompletion: Completion,
    OpenAIResponse: Response,
}
"""OpenAI's answer classes and ours, which are subclasses of them."""


def aligned_class(cast_to: type[T]) -> type[T]:
    """The class an answer is parsed into: ours for a class of OpenAI's that we extend, else the class itself."""
    return cast("type[T]", ALIGNED.get(cast_to, cast_to))


def aligned_parse(parsed: OpenAIParsedChatCompletion[T], alignment: AlignmentResult | None = None) -> ParsedChatCompletion[T]:
    """A parsed answer with its alignment, which streams deliver apart from it."""
    values = {name: value for name, value in parsed.__dict__.items() if name in type(parsed).model_fields}
    values |= parsed.model_extra or {}
    if alignment is not None:
        values["alignment"] = alignment
    answer = cast("ParsedChatCompletion[T]", ParsedChatCompletion.construct(set(parsed.model_fields_set), **values))
    answer._request_id = getattr(parsed, "_request_id", None)
    return answer
