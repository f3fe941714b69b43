"""Contrastive preference learning: preferences explained by regret, so the log-probability is the advantage.

A completion is the paper's segment and a token its action; the discount is 1, as in the released code.
"""

import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.types import PairLogps, log_ratios


def cpl(policy: PairLogps, *, alpha: float = 0.1, bias: float = 0.5, preference: Tensor | float = 1.0) -> Tensor:
    """Loss of each pair, (B,), in nats.

    policy: summed completion log-probabilities, each (B,).
    alpha: temperature, > 0.
    bias: weight of the rejected side in (0, 1]; below 1 it keeps unseen completions unlikely.
    preference: probability that `chosen` is the better one, in [0, 1], a number or (B,).
    Source: Hejna et al. 2023, arXiv 2310.13639, the biased conservative loss.
    """
    forward = alpha * (policy.chosen - bias * policy.rejected)
    backward = alpha * (policy.rejected - bias * policy.chosen)
    return -(preference * F.logsigmoid(forward) + (1 - preference) * F.logsigmoid(backward))


def cpl_with_reference(
    policy: PairLogps,
    reference: PairLogps,
    *,
    alpha: float = 0.1,
    bias: float = 0.5,
    preference: Tensor | float = 1.0,
) -> Tensor:
    """`cpl` on log-ratios to a reference, (B,); with bias 1 it is `dpo` with beta = alpha.

    Source: Hejna et al. 2023, arXiv 2310.13639, the KL variant.
    """
    return cpl(log_ratios(policy, reference), alpha=alpha, bias=bias, preference=preference)
