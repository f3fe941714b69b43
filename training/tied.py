"""The gradient of an embedding that is also the head, made in one place.

Autograd would make two gradients of the vocabulary's size and add them: the head's, and the embedding's, which is zero almost
everywhere. Here the embedding adds its few rows to the head's.
"""

from typing import Any

import torch
from torch import Tensor, nn


class TiedGradient:
    """The gradient of one weight in one backward pass, from the head, which comes first, to the embedding."""

    def __init__(self) -> None:
        self._held: Tensor | None = None

    def hold(self, gradient: Tensor | None) -> None:
        """The head's."""
        self._held = gradient

    def take(self, weight: Tensor) -> Tensor:
        """What is held; zeros where the head had none."""
        held, self._held = self._held, None
        return torch.zeros_like(weight) if held is None else held


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int, tied: TiedGradient) -> Tensor:
        ctx.save_for_backward(weight, ids)
        ctx.padding, ctx.tied = padding, tied
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, ids = ctx.saved_tensors
        total = ctx.tied.take(weight)
        counted = ids != ctx.padding
        return total.index_add_(0, ids[counted], gradient[counted]), None, None, None


def looked_up(base: Any, ids: Tensor) -> tuple[Tensor, TiedGradient] | None:
    """A model's embeddings (T, H) of some ids (T,), and where its head leaves its gradient; None where autograd does it all.

    That it does unless the embedding is a plain one, trained on a CPU, and the head's own weight.
    """
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    if head is None or type(embedding) is not nn.Embedding or embedding.weight is not head.weight:
        return None
    if embedding._forward_hooks or embedding._forward_pre_hooks or embedding.max_norm or embedding.scale_grad_by_freq:
        return None
    weight = embedding.weight
    if embedding.sparse or not weight.requires_grad or not torch.is_grad_enabled() or weight.device.type != "cpu":
        return None
    tied = TiedGradient()
    padding = -1 if embedding.padding_idx is None else embedding.padding_idx
    return _Lookup.apply(weight, ids, padding, tied), tied
