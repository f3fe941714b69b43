"""Reward models from scores: regression on a value that is known for each response."""

import torch.nn.functional as F
from torch import Tensor


def value_mse(reward: Tensor, target: Tensor) -> Tensor:
    """Squared error of each reward, (B,).

    Source: Wang et al. 2024 (survey), arXiv 2403.04204, Eq. 2.
    """
    return (reward - target).square()


def value_mae(reward: Tensor, target: Tensor) -> Tensor:
    """Absolute error of each reward, (B,).

    Source: Wang et al. 2024 (survey), arXiv 2403.04204, the form of Eq. 2 that the text after Eq. 6 uses.
    """
    return (reward - target).abs()


def value_hinge(reward: Tensor, target_reward: Tensor, *, alpha: float = 1.0) -> Tensor:
    """max(0, alpha + R(y) - R(y*)) of each response, (B,).

    reward: of a sampled response y. target_reward: of the demonstration y*, which should be `alpha` higher.
    Source: Wang et al. 2024 (survey), arXiv 2403.04204, the hinge below Eq. 2.
    """
    return F.relu(alpha + reward - target_reward)
