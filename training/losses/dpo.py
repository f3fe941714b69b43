"""Direct preference optimisation: the Bradley-Terry likelihood of pairs under the policy's own implicit reward."""

import torch.nn.functional as F
from torch import Tensor

from trimtab.training.losses.types import PairLengths, PairLogps, log_ratio_gap, per_token


def dpo(policy: PairLogps, reference: PairLogps, *, beta: float = 0.1) -> Tensor:
    """Loss of each pair, (B,), in nats; log 2 where policy and reference agree.

    policy, reference: summed completion log-probabilities, each (B,).
    beta: weight of staying near the reference, > 0.
    Source: Rafailov et al. 2023, arXiv 2305.18290, Eq. 7.
    """
    return -F.logsigmoid(beta * log_ratio_gap(policy, reference))


def soft_dpo(policy: PairLogps, reference: PairLogps, preference: Tensor | float, *, beta: float = 0.1) -> Tensor:
    """Loss of each pair under a soft label, (B,), in nats.

    preference: probability that `chosen` is the better one, in [0, 1], a number or (B,); 1 is `dpo`.
    Source: Rafailov et al. 2023, arXiv 2305.18290, Eq. 7, in expectation over the label.
    """
    logit = beta * log_ratio_gap(policy, reference)
    return -(preference * F.logsigmoid(logit) + (1 - preference) * F.logsigmoid(-logit))


def conservative_dpo(policy: PairLogps, reference: PairLogps, *, beta: float = 0.1, label_smoothing: float = 0.1) -> Tensor:
    """Loss of each pair when a label is assumed wrong with probability `label_smoothing` in [0, 0.5], (B,), in nats.

    Source: Mitchell 2023, "A note on DPO with noisy preferences and relationship to IPO".
    """
    return soft_dpo(policy, reference, 1 - label_smoothing, beta=beta)


def robust_dpo(policy: PairLogps, reference: PairLogps, *, beta: float = 0.1, label_smoothing: float = 0.1) -> Tensor:
    """Unbiased estimate of the clean loss when a label is flipped with probability `label_smoothing` in [0, 0.5), (B,).

    Not bounded below: it is a difference of two losses.
    Source: Chowdhury et al. 2024, arXiv 2403.00409.
    """
    logit = beta * log_ratio_gap(policy, reference)
    kept, flipped = -F.logsigmoid(logit), -F.logsigmoid(-logit)
    return ((1 - label_smoothing) * kept - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def length_normalised_dpo(policy: PairLogps, reference: PairLogps, lengths: PairLengths, *, beta: float = 0.1) -> Tensor:
    """Loss of each pair on token means instead of sums, (B,), in nats.

    lengths: completion tokens, each (B,). `beta` acts on a token mean, so useful values are far larger than for `dpo`.
    Source: Lambert et al. 2024, arXiv 2411.15124 (length-normalised DPO).
    """
    return dpo(per_token(policy, lengths), per_token(reference, lengths), beta=beta)


def implicit_reward(policy: Tensor, reference: Tensor, *, beta: float = 0.1) -> Tensor:
    """beta (log policy - log reference) of each response, (R,), in nats.

    It equals the reward up to beta log Z(x), a term that differs from prompt to prompt: compare responses to one prompt only.
    Source: Rafailov et al. 2023, arXiv 2305.18290, Eq. 5.
    """
    return beta * (policy - reference)
