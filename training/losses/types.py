"""The pairs that preference losses compare: log-probabilities and lengths of a chosen and a rejected completion."""

from typing import NamedTuple

from torch import Tensor


class PairLogps(NamedTuple):
    """Summed log-probability of each completion of a pair, in nats; end-of-turn token counted, prompt not."""

    chosen: Tensor
    """Of the better completion, (B,)."""
    rejected: Tensor
    """Of the worse completion, (B,)."""


class PairLengths(NamedTuple):
    """Number of tokens of each completion of a pair, all >= 1; end-of-turn token counted, prompt not."""

    chosen: Tensor
    """Of the better completion, (B,)."""
    rejected: Tensor
    """Of the worse completion, (B,)."""


def per_token(logps: PairLogps, lengths: PairLengths) -> PairLogps:
    """Mean log-probability of a token of each completion."""
    return PairLogps(logps.chosen / lengths.chosen, logps.rejected / lengths.rejected)


def log_ratios(policy: PairLogps, reference: PairLogps) -> PairLogps:
    """log policy - log reference of each completion."""
    return PairLogps(policy.chosen - reference.chosen, policy.rejected - reference.rejected)


def log_ratio_gap(policy: PairLogps, reference: PairLogps) -> Tensor:
    """Log-ratio of the chosen completion less that of the rejected, (B,)."""
    ratios = log_ratios(policy, reference)
    return ratios.chosen - ratios.rejected
