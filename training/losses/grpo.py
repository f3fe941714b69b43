"""Group relative policy optimisation: the group of samples of a prompt sets mean and scale of the advantages."""

from torch import Tensor

from trimtab.training.losses.ppo import ppo_policy


def group_advantages(rewards: Tensor) -> Tensor:
    """Reward of each sample in standard deviations from its group's mean, (G, K); 0 for a group of equal rewards.

    rewards: K samples for each of G prompts, (G, K).
    Errors: ValueError for K < 2.
    Source: Shao et al. 2024, arXiv 2402.03300, section 4.1.2.
    Deviation: Bessel's correction and 1e-4 added to the deviation, as in TRL.
    """
    centred = group_advantages_unscaled(rewards)
    deviation = (centred.square().sum(-1, keepdim=True) / (rewards.shape[-1] - 1)).sqrt()
    return centred / (deviation + 1e-4)


def group_advantages_unscaled(rewards: Tensor) -> Tensor:
    """Reward of each sample less its group's mean, (G, K).

    Errors: ValueError for K < 2.
    Source: Liu et al. 2025, arXiv 2503.20783, which drops the scale because it favours prompts of nearly equal rewards.
    """
    samples = rewards.shape[-1]
    if samples < 2:
        raise ValueError(f"group advantages need at least 2 samples a prompt, got {samples}")
    return rewards - rewards.mean(-1, keepdim=True)


def grpo(logprobs: Tensor, old: Tensor, advantages: Tensor, *, clip: float = 0.2) -> Tensor:
    """Clipped policy loss of each token, (B, T).

    logprobs, old: log-probability of the sampled token now and at sampling time, (B, T). advantages: of each sample, (B,).
    Source: Shao et al. 2024, arXiv 2402.03300, Eq. 3.
    Deviation: the caller divides the masked sum by the number of tokens of the step, where the paper averages within each
    response first and so weights a token of a short response more. The KL term is `beta * k3`, added by the caller.
    """
    return ppo_policy(logprobs, old, advantages[:, None], clip=clip)
