"""PPO, RLOO and GRPO: the credit that a rollout's tokens are given, and the losses that learn from it."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from trimtab.training.data.batch import Batch, OnlineTargets
from trimtab.training.errors import ConfigInvalid
from trimtab.training.logprobs import sums
from trimtab.training.losses import advantages, group_advantages, k1, k2, k3, leave_one_out, ppo_policy, ppo_value, whiten
from trimtab.training.methods.base import Scored
from trimtab.training.methods.sampled import OnlineConfig, Plan

ESTIMATES = {"k1": k1, "k2": k2, "k3": k3}


@dataclass(frozen=True, slots=True)
class Judged:
    """A rollout before credit is given: B samples (those of a prompt adjacent) of up to T tokens."""

    scores: Tensor
    """(B,) what each sample earned as a whole."""
    penalty: Tensor
    """(B, T) what each token costs, the KL term where it is part of the reward; 0 beyond the end."""
    mask: Tensor
    """(B, T) bool: True for its tokens, the end token the last."""
    values: Tensor | None = None
    """(B, T) what the value model expects; None where there is none."""


@dataclass(frozen=True, slots=True)
class Credit:
    """What each token of a rollout was worth, (B, T) each; beyond the mask anything."""

    advantages: Tensor
    returns: Tensor | None = None


class PolicyGradientConfig(OnlineConfig):
    """What PPO, RLOO and GRPO share: a KL term, and a clipped update on each rollout."""

    beta: float = Field(default=0.05, ge=0)
    """Weight of staying near the reference, per nat."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where the KL term stands."""
    kl: Literal["k1", "k2", "k3"] = "k1"
    """Its estimate. In a loss k1 has no gradient on average, k2 has that of this KL, k3 that of the reversed one."""
    kl_target: float | None = Field(default=None, gt=0)
    """Nats an answer towards which beta is steered after each rollout; default: beta stays."""
    kl_horizon: int = Field(default=10_000, ge=1)
    """Samples over which it is steered."""
    kl_cap: float = Field(default=100.0, gt=0)
    """Nats an answer beyond which the run stops, with the weights from before it got there."""
    rollout_epochs: int = Field(default=1, ge=1)
    """Passes over each rollout."""
    clip: float = Field(default=0.2, gt=0)
    """How far the probability of a sample may move for its gain: the ratio stays within 1 - clip and 1 + clip."""
    entropy_bonus: float = Field(default=0.0, ge=0)
    """Weight of the policy's entropy, nats a token."""
    whiten_scores: bool = False
    """Whether the rewards of a rollout's answers are brought to mean 0 and variance 1."""

    @model_validator(mode="after")
    def _kl_has_a_gradient(self) -> Self:
        if self.kl_in == "loss" and self.kl == "k1" and self.beta > 0:
            raise ValueError("kl k1 has no gradient on average in a loss; take k2 or k3, or kl_in reward")
        return self

    @property
    def has_values(self) -> bool:
        """Whether a value model is trained beside the policy."""
        return False

    def plan(self, batch: int) -> Plan:
        """The plan where a step takes `batch` prompts. Raises ConfigInvalid."""
        if self.prompts % batch:
            told = f"prompts {self.prompts} is no multiple of the {batch} that a step takes (batch_size x grad_accum)"
            raise ConfigInvalid(f"{getattr(self, 'kind', 'online')}: {told}")
        return Plan(self.prompts, self.rollout_epochs * self.prompts // batch)

    def credit(self, judged: Judged) -> Credit:
        """What the tokens of a rollout were worth."""
        raise NotImplementedError  # each method says it; this class holds what they share and is no method

    def penalty(self, old: Tensor, reference: Tensor, beta: float) -> Tensor:
        """What each token costs where the KL term is part of the reward, any shape."""
        if self.kl_in == "loss":
            return torch.zeros_like(old)
        return beta * ESTIMATES[self.kl](old - reference)

    def items(self, batch: Batch) -> Tensor:
        """Sampled tokens."""
        return (batch.lengths * (batch.example_weights != 0)[batch.group]).sum()

    def losses(self, scored: Scored) -> Tensor:
        """(G,) summed over tokens."""
        logprobs, online = _told(scored)
        policy = ppo_policy(logprobs, online.old, online.advantages, clip=self.clip)
        return _by_example(policy + self._regularised(logprobs, online, scored), scored.batch)

    def _regularised(self, logprobs: Tensor, online: OnlineTargets, scored: Scored) -> Tensor:
        """(N,) the KL term where it is part of the loss, and the entropy's."""
        added = torch.zeros_like(logprobs)
        if self.kl_in == "loss" and online.beta:
            added = added + online.beta * ESTIMATES[self.kl](logprobs - online.reference)
        if self.entropy_bonus and scored.readout.entropy is not None:
            added = added - self.entropy_bonus * scored.readout.entropy
        return added

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """How often the clip bites, and the k3 estimate of how far the update has gone from the sampling policy."""
        logprobs, online = _told(scored)
        moved = logprobs.detach() - online.old
        clipped = (moved.exp() - 1).abs() > self.clip
        return {"clip_fraction": clipped.float(), "update_kl": k3(-moved)}


class PpoConfig(PolicyGradientConfig):
    """Proximal policy optimisation with a value model and the KL to the reference in the reward.

    Source: Schulman et al. 2017, arXiv 1707.06347; Ziegler et al. 2019, arXiv 1909.08593, section 2.2, for the reward.
    Deviation: the score stands on the last token that the answer has, its end token; TRL's stands on the first padding. No
    pre-training text in the mix.
    """

    kind: Literal["ppo"] = "ppo"
    samples: int = Field(default=1, ge=1)
    rollout_epochs: int = Field(default=4, ge=1)
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount a token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """Decay of the trace of errors."""
    value_clip: float = Field(default=0.2, gt=0)
    """How far a value may move for its gain in one rollout."""
    value_weight: float = Field(default=0.1, ge=0)
    """Of the value model's loss."""
    value: Literal["copy", "adapter"] = "copy"
    """A model of its own, or a second adapter on the policy's frozen weights (with LoRA alone; less memory)."""
    value_model: str | None = None
    """What the copy starts from; default the reward model where it is of the policy's kind and vocabulary, else the policy."""

    @property
    def has_values(self) -> bool:
        """It is."""
        return True

    def credit(self, judged: Judged) -> Credit:
        """Generalised advantages, whitened over the rollout's tokens; returns are of those before."""
        if judged.values is None:
            raise TypeError("ppo needs values")
        last = judged.mask.sum(1) - 1
        rewards = -judged.penalty
        rewards = rewards + torch.zeros_like(rewards).scatter(1, last[:, None], judged.scores[:, None])
        found, returns = advantages(rewards, judged.values, judged.mask, gamma=self.gamma, lam=self.lam)
        return Credit(whiten(found, judged.mask), returns)

    def losses(self, scored: Scored) -> Tensor:
        """(G,) with the value model's."""
        return super().losses(scored) + self.value_weight * _by_example(self._value(scored), scored.batch)

    def _value(self, scored: Scored) -> Tensor:
        values, (_, online) = scored.readout.values, _told(scored)
        if values is None or online.values is None or online.returns is None:
            raise TypeError("ppo needs values")
        return ppo_value(values, online.values, online.returns, clip=self.value_clip)

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """With the value model's loss."""
        return {**super().metrics(scored), "value_loss": self._value(scored).detach()}


class RlooConfig(PolicyGradientConfig):
    """REINFORCE with the other samples of a prompt as the baseline; a whole answer is one action.

    Source: Ahmadian et al. 2024, arXiv 2402.14740. Deviation: the ratio of an answer is clipped, which matters only after the
    first step on a rollout.
    """

    kind: Literal["rloo"] = "rloo"
    prompts: int = Field(default=8, ge=1)
    samples: int = Field(default=4, ge=2)

    def credit(self, judged: Judged) -> Credit:
        """An answer's reward less the mean of its siblings', on each of its tokens."""
        totals = judged.scores - judged.penalty.sum(1)
        return Credit(leave_one_out(totals.view(-1, self.samples)).view(-1, 1).expand_as(judged.penalty))

    def items(self, batch: Batch) -> Tensor:
        """Answers."""
        return (batch.example_weights != 0)[batch.group].sum().float()

    def losses(self, scored: Scored) -> Tensor:
        """(G,) summed over answers."""
        logprobs, online = _told(scored)
        batch = scored.batch
        now, old = _by_response(logprobs, batch), _by_response(online.old, batch)
        worth = _by_response(online.advantages, batch) / batch.lengths
        policy = ppo_policy(now, old, worth, clip=self.clip)
        grouped = policy.new_zeros(batch.groups).index_add(0, batch.group, policy)
        return grouped + _by_example(self._regularised(logprobs, online, scored), batch)

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """The same of whole answers."""
        logprobs, online = _told(scored)
        moved = _by_response(logprobs.detach() - online.old, scored.batch)
        clipped = (moved.exp() - 1).abs() > self.clip
        return {"clip_fraction": clipped.float(), "update_kl": k3(-moved)}


class GrpoConfig(PolicyGradientConfig):
    """A clipped policy gradient with each group of samples as its own baseline and scale.

    Source: Shao et al. 2024, arXiv 2402.03300, Eq. 3. Deviation: the mean is over the tokens of a step, not first within each
    answer, and there is no KL term unless beta says so.
    """

    kind: Literal["grpo"] = "grpo"
    prompts: int = Field(default=8, ge=1)
    samples: int = Field(default=4, ge=2)
    beta: float = Field(default=0.0, ge=0)
    kl_in: Literal["reward", "loss"] = "loss"
    kl: Literal["k1", "k2", "k3"] = "k3"

    def credit(self, judged: Judged) -> Credit:
        """An answer's reward in standard deviations from its group's mean, on each of its tokens."""
        totals = judged.scores - judged.penalty.sum(1)
        return Credit(group_advantages(totals.view(-1, self.samples)).view(-1, 1).expand_as(judged.penalty))


def _told(scored: Scored) -> tuple[Tensor, OnlineTargets]:
    logprobs, online = scored.readout.logprobs, scored.batch.online
    if logprobs is None or online is None:
        raise TypeError("this method needs what a rollout found")
    return logprobs, online


def _by_response(values: Tensor, batch: Batch) -> Tensor:
    return sums(values, batch.response, batch.responses)


def _by_example(values: Tensor, batch: Batch) -> Tensor:
    return sums(values, batch.group[batch.response], batch.groups)
