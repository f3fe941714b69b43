"""What chat and completion requests share: model, sampling, stops, streaming and the `alignment` object."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trimtab.server.api.schemas.alignment import AlignmentOptions
from trimtab.server.api.schemas.wire import MAX_COUNT, Int64, Text, TokenIds, WireRequest, at_most_members

_TOKEN_KEY = re.compile(r"[0-9]{1,10}")
Bias = Annotated[float, Field(ge=-100, le=100)]
MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16), at_most_members(16)]
MAX_BIASES = 4096
"""Tokens of a `logit_bias`."""


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True, strict=True)

    include_usage: bool | None = None
    """Whether a last chunk tells the token counts."""
    include_obfuscation: bool | None = None
    """A hint; nothing is padded."""
    continuous_usage_stats: bool | None = None
    """Whether every chunk tells the counts so far (where the engine can)."""


class SamplingRequest(WireRequest):
    """Fields of `/v1/chat/completions` and `/v1/completions` alike; null means not given."""

    model: str
    """A name of `/v1/models`."""
    alignment: AlignmentOptions | None = None
    """Which strategies run and how."""
    stream: bool | None = None
    """Whether the answer comes as server-sent events."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    n: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """Choices."""
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """Longest answer in tokens."""
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    """0 = the most likely token each time."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus sampling."""
    top_k: int | None = Field(default=None, ge=-1, le=2**31 - 1)
    """Only the k most likely tokens; 0 and -1 = all."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Only tokens at least this likely, relative to the most likely one."""
    repetition_penalty: float | None = Field(default=None, gt=0, le=100)
    """1 = none."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    """0 = none."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    """0 = none."""
    seed: Int64 | None = None
    """Same seed, same answer, as far as the engine can."""
    stop: Text | Annotated[list[Text], Field(fail_fast=True)] | None = None
    """Strings that end the answer."""
    stop_token_ids: TokenIds | None = None
    """Ids that end the answer."""
    logit_bias: Annotated[dict[str, Bias], at_most_members(MAX_BIASES)] | None = None
    """Token id -> added to its logit."""
    logprob_token_ids: TokenIds | None = None
    """Also the log-probabilities of these ids."""
    allowed_token_ids: TokenIds | None = None
    """Only these ids may be sampled."""
    prompt_logprobs: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Log-probabilities of the prompt (vLLM)."""
    truncate_prompt_tokens: int | None = Field(default=None, ge=-1, le=MAX_COUNT)
    """Longest prompt; the rest is cut (vLLM)."""
    bad_words: Annotated[list[str], Field(fail_fast=True)] | None = None
    """Words that may not appear (vLLM)."""
    min_tokens: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Shortest answer in tokens."""
    ignore_eos: bool | None = None
    """Go on after the end token."""
    include_stop_str_in_output: bool | None = None
    """Leave the stop string in the text (vLLM)."""
    skip_special_tokens: bool | None = None
    """Leave control tokens out of the text (vLLM)."""
    spaces_between_special_tokens: bool | None = None
    """vLLM."""
    return_token_ids: bool | None = None
    """Also give the token ids (vLLM)."""
    return_tokens_as_token_ids: bool | None = None
    """Write tokens of log-probabilities as `token_id:...` (vLLM)."""
    echo: bool | None = None
    """Give the prompt back before the answer."""
    add_special_tokens: bool | None = None
    """Whether the prompt gets the tokenizer's own control tokens (vLLM)."""
    structured_outputs: dict[str, Any] | None = None
    """Grammar, regular expression, choice or JSON schema (vLLM)."""
    user: str | None = None
    """A hint."""
    metadata: Metadata | None = None
    """A hint."""

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        for key in bias or ():
            if not _TOKEN_KEY.fullmatch(key):
                raise PydanticCustomError("value_error", "keys are token ids (got {key})", {"key": key[:40], "at": key[:40]})
        return bias

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise wrong("stream_options", "only allowed where `stream` is true")
        return self


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def wrong(param: str, reason: str, *, code: str = "value_error") -> PydanticCustomError:
    """An error about a field, for validators that see the whole request."""
    return PydanticCustomError(code, "{reason}", {"reason": reason, "param": param})
