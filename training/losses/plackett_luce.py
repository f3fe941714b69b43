"""Likelihood of a ranking: the best is chosen among all, the second among the rest, and so on."""

import torch
from torch import Tensor

from trimtab.training.losses.groups import OrderedPairs, group_logsumexp, group_sum, ordered_pairs


def plackett_luce(logits: Tensor, scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """Negative log-likelihood of the order of each list, (groups,), in nats; 0 for a list without an ordered pair.

    logits: strength of each row, (R,). scores, group: (R,); a higher score is better.
    Source: Plackett 1975, "The Analysis of Permutations"; Luce 1959, "Individual Choice Behavior".
    Deviation: rows with equal scores are not rivals; each competes with the rows strictly below it only.
    """
    pairs = ordered_pairs(scores, group)
    return stagewise_nll(logits, logits[pairs.worse], pairs, group, groups)


def pl_dpo(policy: Tensor, reference: Tensor, scores: Tensor, group: Tensor, groups: int, *, beta: float = 0.1) -> Tensor:
    """Plackett-Luce loss of each list under the implicit reward, (groups,), in nats; `dpo` for lists of two.

    policy, reference: summed completion log-probabilities, (R,).
    Source: Rafailov et al. 2023, arXiv 2305.18290, appendix A.3.
    """
    return plackett_luce(beta * (policy - reference), scores, group, groups)


def stagewise_nll(own: Tensor, rivals: Tensor, pairs: OrderedPairs, group: Tensor, groups: int) -> Tensor:
    """Sum over each list of -log softmax of a row among itself and the rows below it, (groups,).

    own: logit of each row, (R,). rivals: logit of the worse row of each pair, (P,), which may depend on the better row.
    """
    rows = torch.arange(len(own), device=own.device)
    partition = group_logsumexp(torch.cat([own, rivals]), torch.cat([rows, pairs.better]), len(own))
    return group_sum(partition - own, group, groups)
