"""Advantages of sampled tokens from rewards and a value model."""

import torch
from torch import Tensor


def advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantages and value targets of each token, both (B, T), 0 where masked out.

    rewards, values: (B, T). mask: bool, (B, T), True for completion tokens up to the end-of-turn token, which are adjacent.
    gamma, lam: discount and trace decay in [0, 1]. The value after the last token is 0; what stands beyond the mask is ignored.
    Source: Schulman et al. 2015, arXiv 1506.02438, Eq. 16.
    """
    rewards, values = torch.where(mask, rewards, 0), torch.where(mask, values, 0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    errors = rewards + gamma * following - values
    trace = torch.zeros_like(errors[:, 0])
    backwards = []
    for error in reversed(errors.unbind(1)):
        trace = error + gamma * lam * trace
        backwards.append(trace)
    result = torch.where(mask, torch.stack(backwards[::-1], dim=1), 0)
    return result, result + values


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """x shifted and scaled to mean 0 and sample variance 1 over the True entries, 0 elsewhere, same shape.

    Fewer than two entries give 0. The variance has Bessel's correction and a floor of 1e-8, as in TRL.
    """
    count = mask.sum()
    kept = torch.where(mask, x, 0)
    centred = torch.where(mask, kept - kept.sum() / count.clamp(min=1), 0)
    variance = centred.square().sum() / (count - 1).clamp(min=1)
    return centred * torch.rsqrt(variance + 1e-8)
