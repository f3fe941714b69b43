"""Entropy of next-token distributions from hidden states, the head read in slices."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trimtab.training.logprobs import slice_tokens
from trimtab.training.networks import logit_form


def entropies(base: Any, hidden: Tensor, temperature: float) -> Tensor:
    """The entropy of the distribution after each hidden state, (N,) float32, in nats.

    base: a causal model. hidden: (N, H). Under autograd a slice's logits are computed again in the backward pass.
    """
    head = base.get_output_embeddings()
    form = logit_form(base.config)

    def of(part: Tensor) -> Tensor:
        logits = torch.nn.functional.linear(part, head.weight.to(part.dtype), head.bias).float() * form.scale
        if form.cap is not None:
            logits = form.cap * torch.tanh(logits / form.cap)
        logps = torch.log_softmax(logits / temperature, dim=-1)
        return -(logps.exp() * logps).sum(-1)

    again = torch.is_grad_enabled()
    parts = hidden.split(slice_tokens(head.weight.shape[0]))
    found = [checkpoint(of, part, use_reentrant=False) if again else of(part) for part in parts]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)
