"""Proximal policy optimisation: clipped losses of the policy and of the value model."""

import torch
from torch import Tensor


def ppo_policy(logprobs: Tensor, old: Tensor, advantages: Tensor, *, clip: float = 0.2) -> Tensor:
    """Clipped policy loss of each token, any shape.

    logprobs, old: log-probability of the sampled token now and at sampling time, at the sampling temperature.
    advantages: constants of the same or a broadcastable shape. Tokens beyond the completion are the caller's to mask.
    Source: Schulman et al. 2017, arXiv 1707.06347, Eq. 7.
    """
    ratio = (logprobs - old).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def ppo_value(values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float = 0.2) -> Tensor:
    """Half the larger squared error of the value and of the value clipped around its old one, any shape.

    Source: Schulman et al. 2017, arXiv 1707.06347, Eq. 9, for the squared error; the clipping is of the OpenAI baselines.
    """
    near_old = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (near_old - returns).square())
