"""What methods share that learn from what the policy itself says: what is sampled, and what a score becomes."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from trimtab.training.data.examples import Example
from trimtab.training.data.views import Prompts
from trimtab.training.errors import DataError
from trimtab.training.methods.base import MethodConfig, Phase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the steps of an online run divide into rollouts."""

    prompts: int
    """Of one rollout."""
    steps: int
    """Optimizer steps that learn from it."""


class Planned(Protocol):
    """An online method."""

    def plan(self, batch: int) -> Plan:
        """How its steps divide into rollouts."""
        ...


def prompts_needed(method: Planned, steps: int | None, natural: float, batch: int) -> int:
    """Prompts of a whole number of rollouts, for so many optimizer steps or else at least `natural` of them."""
    plan = method.plan(batch)
    rollouts = math.ceil(natural / plan.prompts - 1e-9) if steps is None else math.ceil(steps / plan.steps)
    return rollouts * plan.prompts


class OnlineConfig(MethodConfig):
    """What methods that sample share."""

    prompts: int = Field(default=32, ge=1)
    """Prompts of a rollout."""
    samples: int = Field(default=4, ge=1)
    """Answers sampled for each."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest answer; a prompt that leaves less room within max_length is left out."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the samples, and of every log-probability that is compared with theirs."""
    reward: str | None = None
    """What scores the answers: a reward model's id, directory or alias, where the run is not handed a scorer."""
    score: Literal["raw", "log_sigmoid"] = "raw"
    """What becomes of a score: itself, or the logarithm of its logistic (as in the survey's Eq. 7)."""
    reward_clip: float | None = Field(default=None, gt=0)
    """Largest reward, of either sign."""
    missing_eos_penalty: float = Field(default=0.0, ge=0)
    """Taken from the reward of an answer that was cut at max_new_tokens."""

    def phases(self) -> Sequence[Phase]:
        """Prompts."""
        return (Phase(Prompts()),)

    def prepare(self, examples: Sequence[Example], max_length: int) -> Sequence[Example]:
        """Those with room for an answer. Raises DataError where none has."""
        kept = [example for example in examples if len(example.prompt) + self.max_new_tokens <= max_length]
        if not kept:
            raise DataError(f"no prompt leaves room for {self.max_new_tokens} new tokens within max_length {max_length}")
        if len(kept) < len(examples):
            logger.warning("%d prompts leave no room for %d new tokens", len(examples) - len(kept), self.max_new_tokens)
        return kept

    def shaped(self, scores: Tensor, ended: Tensor) -> Tensor:
        """The rewards of answers, the shape of their scores. ended: bool, whether each ended by itself."""
        rewards = torch.nn.functional.logsigmoid(scores) if self.score == "log_sigmoid" else scores
        if self.reward_clip is not None:
            rewards = rewards.clamp(-self.reward_clip, self.reward_clip)
        return rewards - self.missing_eos_penalty * (~ended).float()
