"""The wire request of `/v1/responses`: OpenAI's fields, of which those that need stored state or hosted tools are refused.

Input items and tools keep their dict form here; `trimtab.server.api.responses.request` reads them one by one, so that an
error names the very item.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trimtab.server.api.schemas.sampling import Effort, Metadata
from trimtab.server.api.schemas.wire import MAX_COUNT

Include = Literal[
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), strict=True)


class TextFormat(_Wire):
    """How the answer's text is structured."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    """Name of the schema."""
    description: str | None = None
    """What the schema is for."""
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    """The JSON schema, for `json_schema`."""
    strict: bool | None = None
    """Whether the answer must follow the schema exactly."""


class TextConfig(_Wire):
    """What the answer's text is like."""

    format: TextFormat | None = None
    """Plain text where absent."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """A hint."""


class Reasoning(_Wire):
    """How much a reasoning model thinks."""

    effort: Effort | None = None
    """Handed on as `reasoning_effort`."""
    summary: Literal["auto", "concise", "detailed"] | None = None
    """A hint: summaries are not written."""
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    """The older name of `summary`."""


class ResponsesStreamOptions(_Wire):
    """How a stream is written."""

    include_obfuscation: bool | None = None
    """A hint: events are not padded."""


class ResponsesRequest(_Wire):
    """A request that carries its whole conversation; nothing is stored between two of them."""

    model: str | None = None
    """Served model or alias; default the first of `/v1/models`."""
    input: str | Annotated[list[dict[str, Any]], Field(fail_fast=True)]
    """What the user says, or items: messages, function calls and their outputs."""
    instructions: str | None = None
    """System text before everything else."""
    tools: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    """Functions; hosted tools are refused."""
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    """none, auto, required, one function, or `allowed_tools`."""
    parallel_tool_calls: bool | None = None
    """Whether several functions may be called in one answer."""
    text: TextConfig | None = None
    """Structure of the answer."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus."""
    top_k: int | None = Field(default=None, ge=-1)
    """Most likely tokens to sample from; -1 = all."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Least probability relative to the most likely token."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Penalty on tokens that have appeared."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Penalty on tokens for each time they have appeared."""
    repetition_penalty: float | None = Field(default=None, gt=0)
    """Factor on repeated tokens; 1 = none."""
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    """Where sampling starts."""
    max_output_tokens: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """Longest answer in tokens."""
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Most likely tokens a position; shown with `include: ["message.output_text.logprobs"]`, which it implies."""
    include: Annotated[list[Include], Field(fail_fast=True)] | None = None
    """Extra output; log-probabilities are honoured, the rest concerns tools that do not occur here."""
    reasoning: Reasoning | None = None
    """For reasoning models."""
    metadata: Metadata | None = None
    """Echoed in the answer."""
    stream: bool | None = None
    """Answer with server-sent events."""
    stream_options: ResponsesStreamOptions | None = None
    """How the stream is written."""
    truncation: Literal["auto", "disabled"] | None = None
    """Only `disabled`: too long an input is an error."""
    alignment: dict[str, Any] | None = None
    """Strategy, budget, on_error, trace and usage_mode of this request."""

    store: bool | None = None
    """Only false: nothing is stored. Absent means false here."""
    background: bool | None = None
    """Only false."""
    background_options: dict[str, Any] | None = None
    """Refused: there are no background runs."""
    previous_response_id: str | None = None
    """Refused: send the whole conversation as `input`."""
    conversation: str | dict[str, Any] | None = None
    """Refused: send the whole conversation as `input`."""
    prompt: dict[str, Any] | None = None
    """Refused: there are no stored prompts."""
    context_management: list[dict[str, Any]] | None = None
    """Refused: the input is never compacted."""
    moderation: dict[str, Any] | None = None
    """Refused: use an alignment strategy."""
    image: dict[str, Any] | None = None
    """Refused: images are not compressed."""
    access_programs: dict[str, Any] | None = None
    """Refused: there are no such programmes here."""

    max_tool_calls: int | None = Field(default=None, ge=0)
    """Counts hosted tools, of which there are none."""
    prompt_cache_key: str | None = None
    """A hint."""
    prompt_cache_options: dict[str, Any] | None = None
    """A hint."""
    prompt_cache_retention: str | None = None
    """A hint."""
    safety_identifier: str | None = None
    """A hint."""
    service_tier: str | None = None
    """A hint."""
    user: str | None = None
    """A hint."""
