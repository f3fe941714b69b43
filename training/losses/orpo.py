"""Odds-ratio preference optimisation: fine-tuning on the chosen response plus a penalty on the odds of the rejected."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.types import PairLengths, PairLogps, per_token


def odds_ratio(policy: PairLogps) -> Tensor:
    """-log sigmoid of the log odds ratio of each pair, (B,), in nats.

    policy: token-mean completion log-probabilities, each (B,), <= 0.
    Source: Hong et al. 2024, arXiv 2403.07691, Eq. 7.
    """
    return -F.logsigmoid(_log_odds(policy.chosen) - _log_odds(policy.rejected))


def orpo(policy: PairLogps, lengths: PairLengths, *, lam: float = 0.1) -> Tensor:
    """Token-mean negative log-likelihood of the chosen response plus `lam` times the odds-ratio term, (B,), in nats.

    policy: summed completion log-probabilities, each (B,). lengths: completion tokens, each (B,).
    Source: Hong et al. 2024, arXiv 2403.07691, Eq. 6.
    """
    means = per_token(policy, lengths)
    return lam * odds_ratio(means) - means.chosen


def _log_odds(mean: Tensor) -> Tensor:
    below_one = mean.clamp(max=-torch.finfo(mean.dtype).eps)
    return below_one - _log1mexp(below_one)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0: either form loses all digits on the other's side of -log 2."""
    return torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))
