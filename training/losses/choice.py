"""The choice loss of preference classifiers: which of K responses to one prompt people picked."""

from torch import Tensor

from trimtab.training.losses.groups import group_logsumexp, group_mean


def choice(logits: Tensor, winner: Tensor, group: Tensor, groups: int, *, logit_scale: float = 1.0) -> Tensor:
    """Cross-entropy of the winner among the rows of each group, (groups,), in nats; 0 for a group without a winner.

    logits, group: (R,). winner: bool, (R,); several winners of a group share the probability equally.
    logit_scale: multiplies the logits; 100 for cosine similarities in [-1, 1].
    Source: Wu et al. 2023, arXiv 2303.14420, the classifier's cross-entropy.
    """
    scaled = logit_scale * logits
    nll = group_logsumexp(scaled, group, groups)[group] - scaled
    return group_mean(nll[winner], group[winner], groups)
