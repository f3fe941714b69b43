"""Roles: the three places where a strategy plugs in, one method each."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Protocol

from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Delta, Prompt

if TYPE_CHECKING:
    from trimtab.strategies.core.context import RequestContext


class PromptShaper(Protocol):
    """Changes what the model is asked."""

    async def shape(self, prompt: Prompt, ctx: "RequestContext") -> Prompt:
        """The prompt to decode; the given one, unchanged, to skip this turn (after `ctx.step.skip(reason)`)."""
        ...


class Decoder(Protocol):
    """Turns a prompt into an answer."""

    def decode(self, prompt: Prompt, params: Params, ctx: "RequestContext") -> AsyncGenerator[Delta, None]:
        """The answer's deltas, `params.n` choices of it; only what stays said is yielded."""
        ...


class Reviser(Protocol):
    """Changes a draft answer."""

    def revise(self, prompt: Prompt, draft: str, ctx: "RequestContext") -> AsyncGenerator[Delta, None]:
        """The deltas of one revised choice (index 0); the draft itself to keep it."""
        ...
