"""ReST: learning the better part of the policy's own answers."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from trimtab.training.data.batch import Batch
from trimtab.training.methods.base import Scored
from trimtab.training.methods.sampled import OnlineConfig, Plan


class RestConfig(OnlineConfig):
    """Grows a set of samples, then learns those above a rising threshold, again and again.

    Source: Gulcehre et al. 2023 (ReST), arXiv 2308.08998, sections 2 and 3, with the NLL loss. Deviation: an improvement is a
    number of steps, not of passes; `per_prompt_best` (best-of-n distillation) is not the paper's.
    """

    kind: Literal["rest"] = "rest"
    select: Literal["absolute", "quantile", "per_prompt_best"] = "quantile"
    """Which samples are learnt: rewards above a number, at or above a quantile of the rollout's, or each prompt's best."""
    thresholds: tuple[float, ...] = (0.5, 0.75, 0.9)
    """Of each improvement, rising; per_prompt_best has one improvement and no threshold."""
    improve_steps: int = Field(default=8, ge=1)
    """Optimizer steps of each improvement."""
    lr_decay: float = Field(default=0.5, gt=0, le=1)
    """Factor of the learning rate from each improvement to the next."""
    demonstrations: bool = True
    """Whether the answers that the rollout's rows hold are learnt along."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.select == "per_prompt_best":
            return self
        if not self.thresholds or list(self.thresholds) != sorted(set(self.thresholds)):
            raise ValueError("thresholds must rise, and there must be one")
        if self.select == "quantile" and not all(0 <= one <= 1 for one in self.thresholds):
            raise ValueError("thresholds that are quantiles lie between 0 and 1")
        return self

    @property
    def improvements(self) -> int:
        """Improvements on each rollout."""
        return 1 if self.select == "per_prompt_best" else len(self.thresholds)

    def plan(self, batch: int) -> Plan:
        """The plan, whatever a step takes."""
        del batch
        return Plan(self.prompts, self.improvements * self.improve_steps)

    def kept(self, rewards: Tensor, improvement: int) -> Tensor:
        """Which samples an improvement (from 0) learns, bool.

        rewards: K samples for each of G prompts, (G, K). Of several best of a prompt it is the first.
        """
        if self.select == "per_prompt_best":
            best = rewards.argmax(1, keepdim=True)
            return torch.zeros_like(rewards, dtype=torch.bool).scatter(1, best, True)
        threshold = self.thresholds[improvement]
        if self.select == "absolute":
            return rewards > threshold
        return rewards >= torch.quantile(rewards.flatten(), threshold)

    def items(self, batch: Batch) -> Tensor:
        """Tokens."""
        return (batch.lengths * (batch.example_weights != 0)[batch.group]).sum()

    def losses(self, scored: Scored) -> Tensor:
        """(G,) summed negative log-likelihoods."""
        (logps,) = scored.columns(scored.logps)
        return -logps

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """The mean over answers of their token means."""
        return {"nll": -scored.means.detach()}
