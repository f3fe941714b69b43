"""The `alignment` object of a request. Strict: an unknown key is an error, because a typo must not switch safety off."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trimtab.server.settings import Spec

MAX_KEYS = 32


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class BudgetOptions(_Strict):
    """What strategies may spend on one request."""

    max_calls: int | None = Field(default=None, ge=1, le=1_000_000)
    """Engine calls."""
    max_tokens: int | None = Field(default=None, ge=1, le=2**53)
    """Prompt and completion tokens of all engine calls."""
    deadline_ms: int | None = Field(default=None, ge=1, le=86_400_000)
    """Milliseconds from the request's arrival."""


class AlignmentOptions(_Strict):
    """How one request is aligned. What is not given comes from the model alias, the key's policy or the server's defaults."""

    strategy: Spec | None = None
    """A strategy's or pipeline's name, an object `{"kind": ..., parameters}`, or a list of these; `plain` for none."""
    budget: BudgetOptions | None = None
    """Bounds of calls, tokens and time."""
    on_error: Literal["closed", "open", "degrade"] | None = None
    """When a step fails: fail the request, answer unaligned, or leave the step out."""
    trace: Literal["none", "summary", "full"] | None = None
    """How much the answer's `alignment` object explains."""
    usage_mode: Literal["total", "final"] | None = None
    """Whether `usage` sums all internal calls or counts the last one."""

    @model_validator(mode="before")
    @classmethod
    def _few(cls, value: Any) -> Any:
        """Refuse a flood of unknown keys before each of them is named."""
        if isinstance(value, dict) and len(value) > MAX_KEYS:
            message = "has {count} members; allowed are " + ", ".join(cls.model_fields)
            raise PydanticCustomError("value_error", message, {"count": len(value)})
        return value

    @field_validator("strategy", mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        """Names and objects only; their parameters are checked where the pipeline is built."""
        for step in value if isinstance(value, list) else [value]:
            if isinstance(step, dict):
                if not isinstance(step.get("kind"), str):
                    raise ValueError('a strategy object needs a "kind", e.g. {"kind": "value_prompt"}')
            elif not (step is None and value is None) and not (isinstance(step, str) and step):
                raise ValueError("a strategy is a name, an object with a kind, or a list of these")
        return value
