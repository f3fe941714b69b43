"""Kahneman-Tversky optimisation: single responses labelled desirable or not, valued against a KL reference point."""

import torch
from torch import Tensor


def kto(
    policy: Tensor,
    reference: Tensor,
    desirable: Tensor,
    kl: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Weight less value of each response, (B,), in (0, weight).

    policy, reference: summed completion log-probabilities, (B,). desirable: bool, (B,).
    kl: reference point of `kto_kl`, a scalar or (B,); no gradient flows through it.
    Source: Ethayarajh et al. 2024, arXiv 2402.01306, the loss of section 4.
    """
    gain = beta * (policy - reference - kl.detach())
    weight = torch.where(desirable, desirable_weight, undesirable_weight).to(gain)
    return weight * torch.sigmoid(torch.where(desirable, -gain, gain))


def kto_kl(policy_mismatched: Tensor, reference_mismatched: Tensor) -> Tensor:
    """Estimate of the batch's KL to the reference, a scalar >= 0 without gradient.

    policy_mismatched, reference_mismatched: summed log-probabilities of responses paired with another row's prompt, (B,).
    Source: Ethayarajh et al. 2024, arXiv 2402.01306, the estimate of z0 in section 4.
    """
    return (policy_mismatched - reference_mismatched).detach().mean().clamp(min=0)
