"""A rollout: the policy's weights pushed, its answers sampled and scored. It knows no loss and no optimizer."""

import hashlib
import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from trimtab.training.data.examples import Branch, Example
from trimtab.training.errors import RolloutError
from trimtab.training.online.parts import OnlineParts, Prompt
from trimtab.training.online.protocols import Sample
from trimtab.training.online.pushing import Pusher

logger = logging.getLogger(__name__)
TextOf = Callable[[Sample], str]
"""The text of an answer, as a scorer reads it."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """Answers of the policy, K to each of G prompts."""

    prompts: tuple[Prompt, ...]
    samples: tuple[tuple[Sample, ...], ...]
    scores: Tensor
    """(G, K) float32, as they were given."""
    version: int
    """Of the weights that were pushed for it."""

    @property
    def ended(self) -> Tensor:
        """(G, K) bool: whether an answer ended by itself."""
        return torch.tensor([[one.finish_reason == "stop" for one in group] for group in self.samples])

    @property
    def examples(self) -> tuple[Example, ...]:
        """Each prompt with its answers as branches."""
        return tuple(
            Example(prompt.ids, tuple(Branch(one.token_ids) for one in group), line=prompt.line)
            for prompt, group in zip(self.prompts, self.samples, strict=True)
        )

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each answer, the answers of a prompt adjacent."""
        return tuple(len(one.token_ids) for group in self.samples for one in group)

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the answers; staleness is in versions."""
        return {
            "reward": float(self.scores.mean()),
            "length": fmean(self.lengths),
            "eos_rate": float(self.ended.float().mean()),
            "staleness": fmean(self.version - one.version for group in self.samples for one in group),
        }


@dataclass(frozen=True, slots=True)
class Sampler:
    """Makes rollouts with the weights as they are when it is asked."""

    parts: OnlineParts
    pusher: Pusher
    text_of: TextOf
    max_tokens: int
    temperature: float
    seed: int

    def rollout(self, prompts: Sequence[Prompt], n: int, name: str) -> Rollout:
        """`n` answers to each prompt, scored.

        name: of the rollout; the same name, weights and seed give the same answers. Raises RolloutError, OutputError.
        """
        version = self.pusher.push()
        samples = self.parts.rollouts.sample(
            [prompt.ids for prompt in prompts],
            n=n,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=1.0,
            seed=seed_of(self.seed, name),
        )
        _check(samples, len(prompts), n)
        found = tuple(map(tuple, samples))
        return Rollout(tuple(prompts), found, self._scores(prompts, found), version)

    def _scores(self, prompts: Sequence[Prompt], samples: Sequence[Sequence[Sample]]) -> Tensor:
        answered = [
            (*prompt.turns, ("assistant", self.text_of(one)))
            for prompt, group in zip(prompts, samples, strict=True)
            for one in group
        ]
        scores = self.parts.scores.score(answered)
        if len(scores) != len(answered):
            raise RolloutError(f"{len(answered)} answers were given {len(scores)} scores")
        if bad := [score for score in scores if not math.isfinite(score)]:
            raise RolloutError(f"{len(bad)} of {len(scores)} scores are not finite, such as {bad[0]}")
        return torch.tensor(scores, dtype=torch.float32).view(len(prompts), -1)


def _check(samples: Sequence[Sequence[Sample]], prompts: int, n: int) -> None:
    if len(samples) != prompts or any(len(group) != n for group in samples):
        raise RolloutError(f"{prompts} prompts were asked for {n} samples each and gave {[len(group) for group in samples]}")
    if not all(one.token_ids for group in samples for one in group):
        raise RolloutError("a sample has no token, not even one that ends it")


def seed_of(seed: int, name: str) -> int:
    """The seed of something with a name, in [0, 2^31)."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=4).digest(), "big") >> 1


def text_of(tokenizer: Any, end_ids: Collection[int]) -> TextOf:
    """How answers become text: without their end token and other control tokens."""

    def text(sample: Sample) -> str:
        ids = sample.token_ids[:-1] if sample.token_ids[-1] in end_ids else sample.token_ids
        return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return text
