"""Stable Alignment: imitate the best-rated response of a list and keep the others less likely by a rating-scaled margin.

The three functions differ in where the hinge sits. All take nll: token-mean negative log-likelihood, (R,); scores, group:
(R,), a higher score is better; ratio: weight of the contrastive term; margin: nats a token asked for over the whole rating
range; scale: the length of that range. Rows that share the best score are not contrasted; a list of equals gives the plain
negative log-likelihood of its first row.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.groups import best_rows, group_mean


def stable_alignment(
    nll: Tensor, scores: Tensor, group: Tensor, groups: int, *, ratio: float = 0.2, margin: float = 1.0, scale: float = 7.0
) -> Tensor:
    """Loss of each list with one hinge a response, averaged, (groups,), in nats a token.

    Source: Liu et al. 2023, arXiv 2305.16960.
    Deviation: the released hinge is of the mean, where a very unlikely response hides the violation of another
    (`stable_alignment_on_mean`); its rating gaps are right for lists sorted by rating only.
    """
    contrast = _contrast(nll, scores, group, groups, margin / scale)
    return contrast.best_nll + ratio * group_mean(F.relu(contrast.violation), contrast.group, groups)


def stable_alignment_on_mean(
    nll: Tensor, scores: Tensor, group: Tensor, groups: int, *, ratio: float = 0.2, margin: float = 1.0, scale: float = 7.0
) -> Tensor:
    """Loss of each list with one hinge of the mean violation, (groups,), in nats a token.

    Source: Liu et al. 2023, arXiv 2305.16960, as released.
    """
    contrast = _contrast(nll, scores, group, groups, margin / scale)
    return contrast.best_nll + ratio * F.relu(group_mean(contrast.violation, contrast.group, groups))


def stable_alignment_max(
    nll: Tensor, scores: Tensor, group: Tensor, groups: int, *, ratio: float = 0.2, margin: float = 1.0, scale: float = 7.0
) -> Tensor:
    """Loss of each list with one hinge of the largest violation, (groups,), in nats a token.

    Source: Liu et al. 2023, arXiv 2305.16960, the maximum variant of the released code.
    """
    contrast = _contrast(nll, scores, group, groups, margin / scale)
    largest = nll.new_zeros(groups).scatter_reduce(0, contrast.group, contrast.violation, "amax")
    return contrast.best_nll + ratio * largest


class _Contrast(NamedTuple):
    best_nll: Tensor  # (groups,)
    violation: Tensor  # of each row rated below the best of its list, (P,)
    group: Tensor  # of those rows, (P,)


def _contrast(nll: Tensor, scores: Tensor, group: Tensor, groups: int, margin_per_point: float) -> _Contrast:
    best = best_rows(scores, group, groups)
    gap = (scores[best][group] - scores).to(nll)
    rivals = torch.nonzero(gap > 0).squeeze(1)
    violation = nll[best][group] - nll + margin_per_point * gap
    return _Contrast(nll[best], violation[rivals], group[rivals])
