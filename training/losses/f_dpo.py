"""DPO under other divergences than the reverse KL: the implicit reward is beta f'(policy / reference).

Reverse KL, f'(u) = log u + 1, is `dpo` itself. Total variation has no such form: its f'(u) = sign(u - 1) / 2 takes two values,
so the reward cannot be recovered from the ratio.
Source: Wang et al. 2023, arXiv 2309.16240, Table 1 and the loss built on it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.types import PairLogps, log_ratios


def f_dpo_forward_kl(policy: PairLogps, reference: PairLogps, *, beta: float = 0.1) -> Tensor:
    """Loss of each pair, (B,), in nats, with f'(u) = -1/u: KL(reference || policy) is the regulariser.

    policy, reference: summed completion log-probabilities, each (B,). beta: weight of staying near the reference, > 0.
    Deviation: where reference/policy exceeds the square root of the largest float it is held there, without gradient.
    """
    ratios = log_ratios(policy, reference)
    return -F.logsigmoid(beta * (_inverse(ratios.rejected) - _inverse(ratios.chosen)))


def f_dpo_jensen_shannon(policy: PairLogps, reference: PairLogps, *, beta: float = 0.1) -> Tensor:
    """Loss of each pair, (B,), in nats, with f'(u) = log(2u/(u + 1)): twice the Jensen-Shannon divergence is the regulariser.

    policy, reference: summed completion log-probabilities, each (B,). beta: weight of staying near the reference, > 0.
    """
    ratios = log_ratios(policy, reference)
    return -F.logsigmoid(beta * (F.logsigmoid(ratios.chosen) - F.logsigmoid(ratios.rejected)))


def _inverse(log_ratio: Tensor) -> Tensor:
    ceiling = math.log(torch.finfo(log_ratio.dtype).max) / 2
    return (-log_ratio).clamp(max=ceiling).exp()
