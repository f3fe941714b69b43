"""Hinge losses on pairs: SLiC-HF without a reference model, and the hinge of statistical rejection sampling with one."""

import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.types import PairLogps, log_ratio_gap


def slic(policy: PairLogps, target: Tensor, *, delta: float = 1.0, regularisation: float = 0.5) -> Tensor:
    """Rank hinge of each pair plus the weighted negative log-likelihood of its fine-tuning target, (B,), in nats.

    policy: summed completion log-probabilities, each (B,).
    target: summed log-probability of the prompt's fine-tuning target, (B,); the chosen response where there is no other.
    delta: gap asked for, nats. regularisation: weight of the target's likelihood, >= 0.
    Source: Zhao et al. 2023, arXiv 2305.10425.
    """
    return F.relu(delta - policy.chosen + policy.rejected) - regularisation * target


def rso_hinge(policy: PairLogps, reference: PairLogps, *, beta: float = 0.1) -> Tensor:
    """max(0, 1 - beta gap) of each pair's log-ratio gap, (B,).

    policy, reference: summed completion log-probabilities, each (B,). The gap asked for is 1/beta nats.
    Source: Liu et al. 2023, arXiv 2309.06657 (hinge-norm loss).
    """
    return F.relu(1 - beta * log_ratio_gap(policy, reference))
