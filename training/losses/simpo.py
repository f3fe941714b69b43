"""Simple preference optimisation: token means as rewards, a target margin, no reference model."""

import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.types import PairLengths, PairLogps, per_token


def simpo(policy: PairLogps, lengths: PairLengths, *, beta: float = 2.0, gamma: float = 0.5) -> Tensor:
    """Loss of each pair, (B,), in nats.

    policy: summed completion log-probabilities, each (B,). lengths: completion tokens, each (B,).
    beta: scale of the token mean, > 0. gamma: margin asked for, in units of the scaled reward.
    Source: Meng et al. 2024, arXiv 2405.14734, Eq. 6.
    """
    means = per_token(policy, lengths)
    return -F.logsigmoid(beta * (means.chosen - means.rejected) - gamma)
