"""Lists in flat form: values (R,), the list number `group` (R,) of each row, and index tensors of pairs.

Group numbers are int64 and ascend from 0 to `groups` - 1; rows of one group are adjacent. Nothing here knows a loss or a model.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class OrderedPairs(NamedTuple):
    """Row numbers of all P pairs of rows of one group that have different scores."""

    better: Tensor
    """Row with the greater score, (P,)."""
    worse: Tensor
    """Row with the smaller score, (P,)."""
    group: Tensor
    """Group of the pair, (P,)."""


def ordered_pairs(scores: Tensor, group: Tensor) -> OrderedPairs:
    """Every strictly ordered pair inside every group; equal scores form no pair."""
    same_group = group[:, None] == group[None, :]
    better, worse = torch.nonzero(same_group & (scores[:, None] > scores[None, :]), as_tuple=True)
    return OrderedPairs(better, worse, group[better])


def best_rows(scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """Row number of the highest score of each group, (groups,); the first of equals. Every group has a row."""
    scores = scores.detach()
    top = scores.new_zeros(groups).scatter_reduce(0, group, scores, "amax", include_self=False)
    rows = torch.arange(len(scores), device=scores.device)
    candidates = torch.where(scores == top[group], rows, len(scores))
    return candidates.new_full((groups,), len(scores)).scatter_reduce(0, group, candidates, "amin")


def group_sum(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sum of the values of each group, (groups,); 0 for an empty group."""
    return values.new_zeros(groups).index_add(0, group, values)


def group_mean(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean of the values of each group, (groups,); 0 for an empty group."""
    return group_sum(values, group, groups) / torch.bincount(group, minlength=groups).clamp(min=1)


def group_logsumexp(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Log of the sum of exponentials of each group, (groups,); -inf for an empty group."""
    fixed = values.detach()
    peak = fixed.new_zeros(groups).scatter_reduce(0, group, fixed, "amax", include_self=False)
    return peak + group_sum((values - peak[group]).exp(), group, groups).log()
