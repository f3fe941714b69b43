"""What online training needs of others, as protocols: samples of the policy, scores of conversations, weights renewed.

The trainer calls them synchronously and knows no engine and no server: `trimtab.cli` hands it one in process or over HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Sample:
    """One continuation of a prompt."""

    token_ids: tuple[int, ...]
    """Its tokens, the end token included where `finish_reason` is "stop"."""
    logprobs: tuple[float, ...]
    """Log-probability of each token in nats under the policy as it is: at temperature 1 and over the whole vocabulary, whatever
    `temperature` and `top_p` it was sampled with. They are those of the distribution sampled from where both are 1."""
    finish_reason: str
    """stop: it ended with an end token of the model; length: it was cut at `max_tokens`."""
    version: int
    """Version of the weights that sampled it, as `Weights.push` returned it; 0 = those the engine started with."""


class Rollouts(Protocol):
    """Samples of the policy."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
    ) -> list[list[Sample]]:
        """`n` continuations of each prompt of token ids, in the order of the prompts.

        max_tokens: longest continuation, >= 1. temperature: >= 0; 0 = the most likely token each time (the n are then equal).
        top_p: in (0, 1]. seed: same prompts, parameters, weights and seed, same samples, as far as the engine's arithmetic does
        not depend on what else is in a batch; samples of one call are independent of each other.
        No other parameter shapes the distribution: the model's own generation config is not applied, but for its end tokens.
        Raises RolloutError.
        """
        ...


class Scores(Protocol):
    """Rewards of conversations."""

    def score(self, conversations: Sequence[Sequence[tuple[str, str]]]) -> list[float]:
        """One number a conversation of (role, content) turns, whose last turn is the answer; higher is better.

        Raises RolloutError.
        """
        ...


class Weights(Protocol):
    """The way to the policy's engine for new weights."""

    def push(self, directory: Path) -> int:
        """Sample with the weights of a checkpoint directory from here on; their version, one more than the last.

        Only weights are taken. The directory must stay as it is until the next push, and a server must find it under the same
        path. Raises RolloutError; the old weights are then still in place.
        """
        ...
