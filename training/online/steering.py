"""The weight of the KL term, steered; and what an answer's tokens add up to."""

import torch
from torch import Tensor, nn


def steered(beta: float, kl: float, *, target: float, samples: int, horizon: int) -> float:
    """The next weight of the KL term.

    kl, target: nats an answer, target > 0. samples: answers that `kl` is the mean of. horizon: answers of a doubling or so.
    Source: Ziegler et al. 2019, arXiv 1909.08593, section 2.2; the error is clipped to 0.2 either way.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return beta * (1 + error * samples / horizon)


def rows(values: Tensor, lengths: Tensor) -> Tensor:
    """Values of adjacent answers, (N,), as a row an answer, (B, T), 0 beyond the end. lengths: (B,) int64."""
    return nn.utils.rnn.pad_sequence(list(values.split(lengths.tolist())), batch_first=True)


def row_mask(lengths: Tensor) -> Tensor:
    """(B, T) bool: True where a row of `rows` holds a value."""
    return torch.arange(int(lengths.max())) < lengths[:, None]
