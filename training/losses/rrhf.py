"""RRHF: hinge over all pairs of a scored list, plus fine-tuning on its best response."""

import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.groups import best_rows, group_sum, ordered_pairs


def rrhf_rank(means: Tensor, scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sum of max(0, worse - better) over the strictly ordered pairs of each list, (groups,), in nats a token.

    means: token-mean log-probability, (R,). scores, group: (R,); a higher score is better.
    Source: Yuan et al. 2023, arXiv 2304.05302, Eq. 2.
    Deviation: the mean is over the response's own tokens; the released code divides by the padded length.
    """
    pairs = ordered_pairs(scores, group)
    return group_sum(F.relu(means[pairs.worse] - means[pairs.better]), pairs.group, groups)


def rrhf(means: Tensor, scores: Tensor, group: Tensor, groups: int, *, rank_weight: float = 1.0) -> Tensor:
    """Weighted rank loss of each list plus the negative log-likelihood of its best response, (groups,).

    The first of several best responses is the demonstration.
    Source: Yuan et al. 2023, arXiv 2304.05302, Eq. 4.
    Deviation: the likelihood is a token mean, on the scale of the rank loss; the paper prints a sum.
    """
    demonstration = -means[best_rows(scores, group, groups)]
    return rank_weight * rrhf_rank(means, scores, group, groups) + demonstration
