"""Random choice by inverting the cumulative distribution, whole or cut by top_k, top_p and min_p.

One uniform number a row decides, so a row's choice depends on its own logits and its own generator alone. Cut rows are sorted
only as far as the cut needs.
"""

import torch

SORTED_HEAD = 128
"""Ids that are sorted first; sixteen times as many, and so on, only where the cut reaches further."""


def draw(scores: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """An id a row, (rows,), from scores (rows, vocabulary) and uniform (rows, 1) float64 in [0, 1)."""
    return _invert(scores.softmax(-1), uniform)


def draw_truncated(
    scores: torch.Tensor, uniform: torch.Tensor, *, top_k: torch.Tensor, top_p: torch.Tensor, min_p: torch.Tensor
) -> torch.Tensor:
    """An id a row among those that all three cuts leave.

    top_k, top_p, min_p: (rows, 1); a top_k of the vocabulary's size, a top_p of 1 and a min_p of 0 cut nothing. The cuts are
    nested in this order: at least min_p of the best probability; the top_k best; of those the fewest whose share reaches top_p.
    """
    size = scores.shape[-1]
    weights = (scores - scores.amax(-1, keepdim=True)).exp_()
    whole = (weights * (weights >= min_p)).sum(-1, keepdim=True, dtype=torch.float64)
    head = min(size, SORTED_HEAD)
    while True:
        best, ids = weights.topk(head)
        place = torch.arange(head, device=scores.device)
        kept = (best >= min_p) & (place < top_k)
        inside = (best * kept).cumsum(-1, dtype=torch.float64)
        total = torch.where(top_k <= head, inside[:, -1:], whole)
        kept &= inside - best < top_p * total
        if head == size or not bool((kept[:, -1:] & (top_k > head)).any()):
            break
        head = min(size, 16 * head)
    return ids.gather(-1, _invert(best * kept, uniform).unsqueeze(-1)).squeeze(-1)


def _invert(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The first index a row whose cumulative weight exceeds the uniform share of the total; its own weight is not 0."""
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    found = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return found.squeeze(-1).clamp_(max=weights.shape[-1] - 1)
