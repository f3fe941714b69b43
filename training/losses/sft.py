"""Likelihood of demonstrations: supervised fine-tuning and everything that is fine-tuning on a special view of the data.

Chain of Hindsight, SECOND THOUGHTS and Aligner use these losses on their own serialisations.
"""

from torch import Tensor


def token_nll(logprobs: Tensor, weights: Tensor) -> Tensor:
    """Weighted negative log-likelihood of each target token, (N,), in nats.

    logprobs: log-probability of each target token, (N,).
    weights: 1 for a completion token, 0 or the prompt weight for a prompt token, (N,).
    The caller divides the sum by the number of target tokens of the whole optimizer step, so that splitting the step into
    micro-batches does not change the objective.
    Source: Wang et al. 2024 (survey), arXiv 2403.04204, Eq. 4.
    Deviation: the logarithm is inside the mean. The printed -log of the mean likelihood gives examples the model finds hard
    almost no gradient.
    """
    return -weights * logprobs


def sequence_nll(logps: Tensor, lengths: Tensor) -> Tensor:
    """Mean negative log-likelihood of a token of each response, (R,), in nats.

    logps: summed completion log-probability, (R,). lengths: completion tokens, (R,), >= 1.
    """
    return -logps / lengths
