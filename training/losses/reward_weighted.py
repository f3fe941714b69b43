"""Reward-weighted likelihood: imitate each sample as much as it is worth."""

from torch import Tensor


def reward_weighted(
    nll: Tensor, reward: Tensor, *, pretraining_nll: Tensor | float = 0.0, pretraining_weight: float = 1.0
) -> Tensor:
    """reward * nll of each sample plus the weighted pre-training term, (B,), in nats.

    nll: token-mean negative log-likelihood of a sample, (B,). reward: its reward, (B,), >= 0, best in [0, 1]; a constant.
    pretraining_nll: token-mean negative log-likelihood of pre-training text, a number, a scalar or (B,); 0 leaves it out.
    Source: Lee et al. 2023, arXiv 2302.12192, the fine-tuning objective.
    """
    return reward.detach() * nll + pretraining_weight * pretraining_nll
