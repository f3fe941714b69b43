"""The wire request of `/v1/completions`: raw prompts, as text or token ids, one or many."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from trimtab.server.api.refusal import validated
from trimtab.server.api.schemas.chat import ChatCompletionRequest, ResponseFormat
from trimtab.server.api.schemas.fields import HINTS
from trimtab.server.api.schemas.messages import check_text
from trimtab.server.api.schemas.sampling import SamplingRequest, wrong
from trimtab.server.api.schemas.wire import MAX_COUNT, TokenId


def _shape(value: Any) -> str:
    """Which of the four forms a prompt has."""
    if not isinstance(value, list):
        return "text"
    first = value[0] if value else ""
    return "ids" if isinstance(first, int) else "id_lists" if isinstance(first, list) else "texts"


def _encodable(text: str) -> str:
    check_text("", text)
    return text


PromptText = Annotated[str, AfterValidator(_encodable)]
Ids = Annotated[list[TokenId], Field(fail_fast=True), Field(min_length=1)]
CompletionPrompt = Annotated[
    Annotated[PromptText, Tag("text")]
    | Annotated[list[PromptText], Field(fail_fast=True), Field(min_length=1), Tag("texts")]
    | Annotated[Ids, Tag("ids")]
    | Annotated[list[Ids], Field(fail_fast=True), Tag("id_lists")],
    Discriminator(_shape),
]


class CompletionRequest(SamplingRequest):
    """Raw prompts to be continued. Unknown fields are accepted and handed on."""

    prompt: CompletionPrompt
    """A text, texts, token ids, or lists of token ids."""
    max_tokens: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Longest continuation in tokens, default 16; 0 only with `echo`."""
    logprobs: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """How many of the most likely tokens are given at each position."""
    response_format: ResponseFormat | None = None
    """How the text is structured (vLLM)."""

    @model_validator(mode="before")
    @classmethod
    def _no_chat_fields(cls, data: Any) -> Any:
        """Fields of a chat would be neither checked nor honoured here."""
        for name in CHAT_ONLY.intersection(data if isinstance(data, dict) else ()):
            if data[name] is not None:
                raise wrong(name, "belongs to /v1/chat/completions", code="unsupported_parameter")
        return data

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Fields that only make sense together."""
        if self.max_tokens == 0 and not self.echo:
            raise wrong("max_tokens", "0 is only allowed with `echo`")
        return self


CHAT_ONLY = frozenset(ChatCompletionRequest.model_fields) - frozenset(CompletionRequest.model_fields) - HINTS
"""Fields that only conversations have."""


def completion_body(body: dict[str, Any]) -> dict[str, Any]:
    """The body to work with. Raises RequestRefused naming the wrong field."""
    return validated(CompletionRequest, body).wire()
