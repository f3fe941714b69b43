"""Estimates of KL(policy || reference) from tokens the policy sampled.

Each takes d = log policy - log reference of the sampled token, any shape, and returns the same shape, in nats. As part of a
reward they are detached. As part of a loss their gradients differ: that of k1 is 0 on average, that of k2 is the gradient of
this KL, that of k3 the gradient of KL(reference || policy).
Source: Schulman 2020, "Approximating KL Divergence".
"""

import torch
from torch import Tensor


def k1(logprob_difference: Tensor) -> Tensor:
    """d: unbiased, high variance, of either sign."""
    return logprob_difference


def k2(logprob_difference: Tensor) -> Tensor:
    """d^2 / 2: biased, low variance, >= 0."""
    return logprob_difference.square() / 2


def k3(logprob_difference: Tensor) -> Tensor:
    """e^-d - 1 + d: unbiased, low variance, >= 0."""
    return torch.expm1(-logprob_difference) + logprob_difference
