"""The root of wire requests: validates a body and keeps it as it came.

Engines get the client's own object, not a re-serialised model: what a newer client sends passes through unharmed. Unknown
fields are accepted and listed in `unknown`. Validation of an ordinary chat body costs some tens of microseconds.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trimtab.server.api.schemas.fields import OTHER_KNOWN, refuse_unsupported
from trimtab.strategies.core.errors import RequestRefused

Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
MAX_COUNT = 2**31 - 1
"""Largest number of tokens, choices or the like that is a number at all; `limits` are far below."""
TokenIds = Annotated[list[TokenId], Field(fail_fast=True)]
Text = Annotated[str, Field(min_length=1)]


class WireRequest(BaseModel):
    """A validated body and the body itself."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True, protected_namespaces=(), strict=True)

    _body: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Lift `extra_body`, refuse what cannot be honoured, validate, remember the body."""
        if not isinstance(data, dict):
            return handler(data)
        body = _lifted(data)
        try:
            refuse_unsupported(body)
        except RequestRefused as refusal:
            raise PydanticCustomError(
                "unsupported_parameter", "{reason}", {"reason": str(refusal), "param": refusal.param}
            ) from None
        request = handler(body)
        request._body = body
        return request

    def wire(self) -> dict[str, Any]:
        """The client's body; a new dict whose values are the client's own."""
        return dict(self._body)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Fields nobody knows, in the order they came; they are handed on and may be ignored."""
        return unknown_fields(type(self), self._body)


def unknown_fields(model: type[BaseModel], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields of a body that its model does not know, in the order they came."""
    return tuple(name for name in body if name not in model.model_fields and name not in OTHER_KNOWN)


def at_most_members(most: int) -> BeforeValidator:
    """Refuses an object of more members before each of them is looked at."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > most:
            raise PydanticCustomError(
                "value_error", "has {count} members; allowed are {most}", {"count": len(value), "most": most}
            )
        return value

    return BeforeValidator(check)


def _lifted(body: dict[str, Any]) -> dict[str, Any]:
    """The body with the members of a nested `extra_body` beside the others; what is given outside and is not null wins.

    Clients that put `extra_body` into `extra_body` nest it twice: an `alignment` down there must not get lost.
    """
    while (inner := body.get("extra_body")) is not None:
        if not isinstance(inner, dict):
            reason = "must be an object"
            raise PydanticCustomError("value_error", "{reason}", {"reason": reason, "param": "extra_body"})
        outer = {name: value for name, value in body.items() if name != "extra_body"}
        body = {**inner, **{name: value for name, value in outer.items() if value is not None or name not in inner}}
    return body
