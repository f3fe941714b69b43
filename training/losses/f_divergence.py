"""Divergences between a policy pi and a target p, exactly over a table and as rewards of samples of the policy.

With D_f = E_p[f(pi / p)] the gradient is E_pi[f'(pi / p) grad log pi], so -f'(pi / p), held constant, acts as a reward:

    divergence                    f(t)                                         -f'(t)
    forward KL, KL(p || pi)       -log t                                       1/t
    reverse KL, KL(pi || p)       t log t                                      -log t - 1
    Jensen-Shannon                (t log t - (t + 1) log((t + 1)/2)) / 2       -log(2t/(t + 1)) / 2
    total variation               |t - 1| / 2                                  -sign(t - 1) / 2

Source: Go et al. 2023, arXiv 2302.08215, Table 1 and Theorem 1; the survey (arXiv 2403.04204) names these at Eq. 3 and Eq. 7.
Deviation: their Jensen-Shannon generator is twice ours, which is the divergence bounded by log 2.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def forward_kl(policy: Tensor, target: Tensor) -> Tensor:
    """KL(target || policy) over the last dimension, in nats; makes the policy cover the target.

    policy, target: normalised log-probabilities of all outcomes, (..., V); an outcome of the target may be -inf.
    """
    return _expected(target, target - policy)


def reverse_kl(policy: Tensor, target: Tensor) -> Tensor:
    """KL(policy || target) over the last dimension, in nats; makes the policy avoid what the target lacks.

    policy, target: log-probabilities of all outcomes, (..., V). An unnormalised target adds a constant.
    """
    return _expected(policy, policy - target)


def jensen_shannon(policy: Tensor, target: Tensor) -> Tensor:
    """Mean KL of both distributions to their mixture over the last dimension, in nats, at most log 2.

    policy, target: normalised log-probabilities of all outcomes, (..., V).
    """
    mixture = torch.logaddexp(policy, target) - math.log(2)
    return (_expected(policy, policy - mixture) + _expected(target, target - mixture)) / 2


def total_variation(policy: Tensor, target: Tensor) -> Tensor:
    """Half the L1 distance of the probabilities over the last dimension, in [0, 1].

    policy, target: normalised log-probabilities of all outcomes, (..., V).
    """
    return (policy.exp() - target.exp()).abs().sum(-1) / 2


def f_dpg_forward_kl(policy_logps: Tensor, target_logps: Tensor) -> Tensor:
    """Pseudo-reward p/pi of each sample of the policy, (B,), without gradient; unbounded where the policy is too small."""
    return (target_logps - policy_logps).detach().exp()


def f_dpg_reverse_kl(policy_logps: Tensor, target_logps: Tensor) -> Tensor:
    """Pseudo-reward log p - log pi - 1 of each sample of the policy, (B,), without gradient; a scaled target shifts it only."""
    return (target_logps - policy_logps).detach() - 1


def f_dpg_jensen_shannon(policy_logps: Tensor, target_logps: Tensor) -> Tensor:
    """Pseudo-reward -log(2 pi / (pi + p)) / 2 of each sample of the policy, (B,), without gradient; at least -log(2) / 2."""
    return -(F.logsigmoid(policy_logps - target_logps).detach() + math.log(2)) / 2


def f_dpg_total_variation(policy_logps: Tensor, target_logps: Tensor) -> Tensor:
    """Pseudo-reward 1/2 where the policy is below the target and -1/2 where above, (B,), without gradient."""
    return (target_logps - policy_logps).detach().sign() / 2


def f_dpg(policy_logps: Tensor, pseudo_rewards: Tensor, *, baseline: Tensor | float = 0.0) -> Tensor:
    """-(pseudo-reward - baseline) log pi of each sample of the policy, (B,); its mean gradient is that of the divergence.

    policy_logps: summed log-probabilities, (B,). pseudo_rewards: of an `f_dpg_*`, (B,).
    baseline: any constant leaves the mean gradient as it is and may lower its variance.
    """
    return -(pseudo_rewards - baseline) * policy_logps


def _expected(logps: Tensor, values: Tensor) -> Tensor:
    return (logps.exp() * torch.where(logps == -math.inf, 0, values)).sum(-1)
