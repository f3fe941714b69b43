"""A constant value: for tests, and for measuring what a search costs when every answer is good."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.judging.source import ValueSource
from trimtab.strategies.judging.value import Judged, ValueFunction


class FixedConfig(ValueSource):
    """Every answer has the same value; nothing is asked."""

    kind: Literal["fixed"] = "fixed"
    value: float = Field(default=1.0, ge=-1.0, le=1.0)
    """The value, -1 (worst) to 1 (best)."""

    def build(self) -> ValueFunction:
        """The constant function."""
        return Fixed(self.value)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Answers with one value."""

    value: float

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        """The value, once an answer."""
        return (self.value,) * len(judged)
