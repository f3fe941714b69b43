"""Plain decoding: the engine answers the prompt as it stands."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import ClassVar, Literal

from trimtab.strategies.core.config import RoleName, StrategyConfig
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import Conversation, Delta, Prompt


class PlainConfig(StrategyConfig):
    """No alignment: the empty pipeline, and the decoder of every pipeline that names none."""

    kind: Literal["plain"] = "plain"

    role: ClassVar[RoleName] = "decoder"
    accepts_text: ClassVar[bool] = True

    def build(self) -> "Plain":
        """The plain decoder."""
        return Plain()


@dataclass(frozen=True, slots=True)
class Plain:
    """One pass of the engine over the prompt."""

    async def decode(self, prompt: Prompt, params: Params, ctx: RequestContext) -> AsyncGenerator[Delta, None]:
        """The engine's own deltas. Raises MissingCapability where it has no raw-text port for a raw prompt."""
        engine = ctx.engine()
        if isinstance(prompt, Conversation):
            if engine.messages is None:
                raise MissingCapability("this engine cannot answer conversations")
            stream = engine.messages.chat(prompt, params, ctx.call())
        else:
            if engine.text is None:
                raise MissingCapability("this engine has no raw-text port: it cannot continue a raw prompt")
            stream = engine.text.complete(prompt, params, ctx.call())
        async with aclosing(stream):
            async for delta in stream:
                yield delta
