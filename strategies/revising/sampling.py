"""How a reviser samples: as the request asks, freed of what binds the answer alone where something else is written."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params

RENDERED = ("tools", "documents", "chat_template_kwargs", "reasoning_effort")
"""Chat-only fields that are part of the rendered prompt: kept, so that a longer dialogue begins as the draft's did."""
FORMS = ("response_format", "structured_outputs")


def for_critique(ctx: RequestContext, max_tokens: int, label: str) -> Params:
    """Sampling of a text that is no answer: no stops, no chosen tokens, no log-probabilities, no form."""
    free = ctx.params.freed(max_tokens=max_tokens, seed=derived_seed(ctx, label))
    return replace(free, native=_native(ctx.params, RENDERED))


def for_answer(ctx: RequestContext, label: str) -> Params:
    """Sampling of one new answer: everything that binds the draft binds it."""
    return replace(ctx.params, n=1, seed=derived_seed(ctx, label), native=_native(ctx.params, (*RENDERED, *FORMS)))


def derived_seed(ctx: RequestContext, label: str) -> int | None:
    """The seed of one engine call; None where the request has none, because not every engine takes one."""
    return None if ctx.params.seed is None else ctx.seed_of(label)


def _native(params: Params, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Chat-only fields of these names; tools are shown as before, and none may be called."""
    chosen = {name: params.native[name] for name in names if name in params.native}
    return {**chosen, "tool_choice": "none"} if "tools" in chosen else chosen
