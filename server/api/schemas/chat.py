"""The wire request of `/v1/chat/completions`: OpenAI's fields and those vLLM adds."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trimtab.server.api.refusal import validated
from trimtab.server.api.schemas.messages import Messages
from trimtab.server.api.schemas.sampling import Effort, SamplingRequest, wrong
from trimtab.server.api.schemas.wire import MAX_COUNT, at_most_members

_PLAIN = re.compile(r"[\w .,:/+-]{0,64}")
_TEMPLATE_OWN = frozenset(
    {"chat_template", "messages", "tools", "documents", "add_generation_prompt", "continue_final_message"}
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True, protected_namespaces=(), strict=True)


class FunctionDefinition(_Part):
    """A function the model may call."""

    name: str = Field(min_length=1, max_length=256)
    """What the call names."""
    description: str | None = None
    """When to call it."""
    parameters: dict[str, Any] | None = None
    """JSON schema of its arguments."""
    strict: bool | None = None
    """Whether arguments must follow the schema."""


class Tool(_Part):
    """A tool; functions only."""

    type: Literal["function"]
    """Custom and hosted tools are not supported."""
    function: FunctionDefinition
    """The function."""


class FunctionName(_Part):
    """A function by name."""

    name: str
    """Its name."""


class NamedTool(_Part):
    """The tool that must be called."""

    type: Literal["function"]
    """Functions only."""
    function: FunctionName
    """Which."""


class JsonSchemaFormat(_Part):
    """A JSON schema the answer follows."""

    name: str = Field(max_length=256)
    """Name of the schema."""
    description: str | None = None
    """What it is for."""
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    """The schema."""
    strict: bool | None = None
    """Whether the answer must follow it exactly."""


class ResponseFormat(_Part):
    """How the answer is structured."""

    type: Literal["text", "json_object", "json_schema"]
    """Free text, any JSON object, or a given schema."""
    json_schema: JsonSchemaFormat | None = None
    """For `json_schema`."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "json_schema" and (self.json_schema is None or self.json_schema.schema_ is None):
            raise wrong("response_format.json_schema", "the type json_schema needs `json_schema.schema`")
        return self


class ChatCompletionRequest(SamplingRequest):
    """A chat to be answered. Unknown fields are accepted and handed on; what cannot be honoured is a 400 naming the field."""

    messages: Messages = Field(min_length=1)
    """The conversation."""
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """Longest answer in tokens; wins over `max_tokens`."""
    logprobs: bool | None = None
    """Whether each token's log-probability is given."""
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """How many of the most likely tokens are given too; only with `logprobs`."""
    tools: Annotated[list[Tool], Field(fail_fast=True)] | None = None
    """Functions the model may call."""
    tool_choice: Annotated[Literal["none", "auto", "required"] | NamedTool | None, Field(union_mode="left_to_right")] = None
    """Whether it must."""
    parallel_tool_calls: bool | None = None
    """Whether it may call several at once."""
    response_format: ResponseFormat | None = None
    """How the answer is structured."""
    modalities: Annotated[list[Literal["text"]], Field(fail_fast=True)] | None = None
    """Text only."""
    reasoning_effort: Effort | None = None
    """A hint."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """A hint."""
    prediction: dict[str, Any] | None = None
    """A hint."""
    store: bool | None = None
    """A hint; nothing is stored."""
    service_tier: str | None = None
    """A hint."""
    safety_identifier: str | None = None
    """A hint."""
    prompt_cache_key: str | None = None
    """A hint."""
    prompt_cache_options: Any = None
    """A hint."""
    prompt_cache_retention: str | None = None
    """A hint."""
    add_generation_prompt: bool | None = None
    """Whether the template opens the assistant's turn (vLLM)."""
    continue_final_message: bool | None = None
    """Whether the last message is continued; needs `add_generation_prompt` false (vLLM)."""
    chat_template_kwargs: Annotated[dict[str, bool | int | float | str | None], at_most_members(64)] | None = None
    """Switches of the chat template, e.g. enable_thinking; scalars only (vLLM)."""
    include_reasoning: bool | None = None
    """Whether reasoning is given apart (vLLM)."""

    @field_validator("modalities", mode="before")
    @classmethod
    def _text_only(cls, value: Any) -> Any:
        if isinstance(value, list) and "audio" in value:
            raise wrong("modalities", "audio output is not supported", code="unsupported_parameter")
        return value

    @field_validator("tools", mode="before")
    @classmethod
    def _functions_only(cls, value: Any) -> Any:
        for index, tool in enumerate(value if isinstance(value, list) else ()):
            kind = tool.get("type") if isinstance(tool, dict) else None
            if isinstance(kind, str) and kind != "function":
                message = f"tools of type {kind[:40]!r} are not supported; allowed is 'function'"
                raise wrong(f"tools.{index}.type", message, code="unsupported_parameter")
        return value

    @field_validator("chat_template_kwargs")
    @classmethod
    def _switches(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        """They are pasted into the rendered prompt, so only words that can forge nothing pass."""
        for name, switch in (value or {}).items():
            if name in _TEMPLATE_OWN:
                raise wrong(f"chat_template_kwargs.{name}", "the template's own input", code="unsupported_parameter")
            if isinstance(switch, str) and not _PLAIN.fullmatch(switch):
                raise wrong(f"chat_template_kwargs.{name}", "must be a plain word of at most 64 characters")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Fields that only make sense together."""
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong("top_logprobs", "only allowed where `logprobs` is true")
        if self.continue_final_message and self.add_generation_prompt is not False:
            raise wrong("continue_final_message", "needs `add_generation_prompt` to be false")
        if self.continue_final_message and self.messages[-1].get("role") != "assistant":
            raise wrong("continue_final_message", "the last message must be the assistant's")
        self._check_tool_choice()
        return self

    def _check_tool_choice(self) -> None:
        names = {tool.function.name for tool in self.tools or ()}
        if self.tool_choice == "required" and not names:
            raise wrong("tool_choice", "'required' needs `tools`")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise wrong("tool_choice", f"no tool is called {self.tool_choice.function.name[:80]!r}")

    def wire(self) -> dict[str, Any]:
        """The client's body, with one limit: `max_completion_tokens` has won over `max_tokens`."""
        body = super().wire()
        if self.max_completion_tokens is not None:
            body.pop("max_tokens", None)
        return body


def chat_body(body: dict[str, Any]) -> dict[str, Any]:
    """The body to work with. Raises RequestRefused naming the wrong field."""
    return validated(ChatCompletionRequest, body).wire()
