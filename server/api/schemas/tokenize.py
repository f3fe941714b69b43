"""The wire requests of `/tokenize` and `/detokenize`, as vLLM has them."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trimtab.server.api.schemas.sampling import wrong
from trimtab.server.api.schemas.wire import TokenIds

CHAT_FIELDS = ("messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs", "alignment")
"""Fields that mean what they mean in a chat request, and are validated as one."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)


class TokenizeRequest(_Strict):
    """A raw prompt or a conversation."""

    model: str | None = None
    """A name of `/v1/models`; default its first."""
    prompt: str | None = None
    """A raw prompt, as `/v1/completions` takes it."""
    messages: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    """A conversation, as `/v1/chat/completions` takes it."""
    tools: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    """Functions the template tells the model about."""
    add_generation_prompt: bool | None = None
    """Whether the template opens the assistant's turn; default true."""
    continue_final_message: bool | None = None
    """Whether the last message is left open; needs `add_generation_prompt` false."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Switches of the chat template."""
    alignment: dict[str, Any] | None = None
    """As in a chat request: the prompt is shown as its strategies shape it. Absent: as the caller sent it."""
    add_special_tokens: bool | None = None
    """Whether a raw prompt gets the tokenizer's own control tokens; default true. The template writes those of messages."""
    return_token_strs: bool | None = None
    """Also give each token as a string."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise wrong("prompt", "give either `prompt` or `messages`")
        for name in CHAT_FIELDS:
            if self.messages is None and getattr(self, name) is not None:
                raise wrong(name, "only allowed beside `messages`")
        if self.messages is not None and self.add_special_tokens:
            raise wrong("add_special_tokens", "the chat template writes the control tokens of `messages`")
        return self

    def chat_fields(self) -> dict[str, Any]:
        """The part of the body that is a chat request."""
        return {name: value for name in CHAT_FIELDS if (value := getattr(self, name)) is not None}


class DetokenizeRequest(_Strict):
    """Token ids to be shown as text."""

    model: str | None = None
    """A name of `/v1/models`; default its first."""
    tokens: Annotated[TokenIds, Field(max_length=2**20)]
    """The ids."""
