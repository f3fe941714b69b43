"""SAFE-ALIGN: likelihood of safe responses up, likelihood of harmful ones down until they are unlikely enough."""

import torch
import torch.nn.functional as F
from torch import Tensor


def capped_ascent(nll: Tensor, *, cap: float = 1.5) -> Tensor:
    """max(0, cap - nll) of each response, (B,), in nats a token: bounded, and without gradient once nll >= cap."""
    return F.relu(cap - nll)


def safe_align(nll: Tensor, safe: Tensor, *, red_weight: float = 0.1, cap: float = 1.5) -> Tensor:
    """nll of each safe response and the weighted capped ascent of each harmful one, (B,), in nats a token.

    nll: token-mean negative log-likelihood, (B,). safe: bool, (B,). red_weight: 0 trains on the safe responses alone.
    Source: Bhardwaj and Poria 2023, arXiv 2308.09662, strategy B.
    Deviation: the ascent is capped; raw gradient ascent is unbounded below. The released trainer has strategy A only.
    """
    return torch.where(safe, nll, red_weight * capped_ascent(nll, cap=cap))
