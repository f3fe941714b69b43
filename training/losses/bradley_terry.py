"""Reward models from comparisons: the Bradley-Terry likelihood of pairs and of ranked lists."""

import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.groups import group_mean, ordered_pairs


def bradley_terry(
    chosen: Tensor, rejected: Tensor, *, margin: Tensor | float = 0.0, preference: Tensor | float = 1.0
) -> Tensor:
    """Negative log-likelihood of each comparison, (B,), in nats.

    chosen, rejected: rewards, (B,).
    margin: the reward gap asked for beyond 0, >= 0, a number or (B,); it is asked of whichever response the label prefers.
    preference: probability that `chosen` is the better one, in [0, 1], a number or (B,); 1 is a hard label.
    Source: Ouyang et al. 2022, arXiv 2203.02155, Eq. 1; the margin is of Touvron et al. 2023, arXiv 2307.09288, Eq. 2; soft
    labels are of Bai et al. 2022, arXiv 2212.08073.
    """
    gap = chosen - rejected
    return -(preference * F.logsigmoid(gap - margin) + (1 - preference) * F.logsigmoid(-gap - margin))


def centring(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Square of the summed rewards of each pair, (B,), which keeps rewards around 0; the caller applies a coefficient (0.01).

    Source: Eisenstein et al. 2023, arXiv 2312.09244.
    """
    return (chosen + rejected).square()


def k_way(rewards: Tensor, scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean Bradley-Terry loss over the strictly ordered pairs of each list, (groups,); 0 for a list without one.

    rewards, scores, group: (R,); a higher score is better, equal scores are not compared.
    Source: Ouyang et al. 2022, arXiv 2203.02155, Eq. 1.
    Deviation: the mean is over the pairs that have an order, which is all C(K, 2) of them without ties.
    """
    pairs = ordered_pairs(scores, group)
    return group_mean(bradley_terry(rewards[pairs.better], rewards[pairs.worse]), pairs.group, groups)
