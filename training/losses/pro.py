"""Preference ranking optimisation: a ranking likelihood of token means whose temperatures are the reward gaps."""

import torch
from torch import Tensor

from trimtab.training.losses.groups import best_rows, ordered_pairs
from trimtab.training.losses.plackett_luce import stagewise_nll


def pro_rank(means: Tensor, scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """Ranking loss of each list, (groups,), in nats; 0 for a list without an ordered pair.

    means: token-mean log-probability, (R,). scores, group: (R,); a higher score is better.
    A rival's logit is its mean times the score gap, the row's own its mean times the largest gap. With more than two rows the
    loss is not invariant to a shift of the means, so it also pushes absolute likelihoods; `plackett_luce` on the means is the
    form with all temperatures 1.
    Source: Song et al. 2023, arXiv 2306.17492 (reward-gap temperatures).
    Deviation: log-sum-exp for the released exp and log; rows with equal scores are not rivals.
    """
    pairs = ordered_pairs(scores, group)
    gaps = (scores[pairs.better] - scores[pairs.worse]).to(means)
    largest = torch.zeros_like(means).scatter_reduce(0, pairs.better, gaps, "amax")
    return stagewise_nll(means * largest, means[pairs.worse] * gaps, pairs, group, groups)


def pro(means: Tensor, scores: Tensor, group: Tensor, groups: int, *, sft_weight: float | None = None) -> Tensor:
    """Ranking loss of each list plus the weighted negative log-likelihood of its best response, (groups,).

    sft_weight: None is the paper's 0.05 (K - 1)^2 for a list of K. The first of several best responses is the demonstration.
    Source: Song et al. 2023, arXiv 2306.17492.
    Deviation: the likelihood is a token mean; the released code sums it.
    """
    demonstration = -means[best_rows(scores, group, groups)]
    sizes = torch.bincount(group, minlength=groups).to(means)
    weight = 0.05 * (sizes - 1).square() if sft_weight is None else sft_weight
    return pro_rank(means, scores, group, groups) + weight * demonstration
