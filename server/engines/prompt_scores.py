"""Log-probabilities of a prompt's own tokens: what `/v1/completions` with `echo` and `logprobs` shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trimtab.strategies.core.engine import Call


@dataclass(frozen=True, slots=True)
class PromptLogprob:
    """One prompt token, given all tokens before it."""

    token_id: int
    logprob: float
    """Raw, in nats."""
    top: Mapping[int, float] = field(default_factory=dict)
    """The most likely ids at this position and their raw log-probabilities."""


class PromptScores(Protocol):
    """An engine that can score a prompt."""

    async def prompt_logprobs(self, token_ids: Sequence[int], top: int, call: Call) -> list[PromptLogprob | None]:
        """One entry a token of the prompt, the first None; `top` most likely ids beside each."""
        ...
