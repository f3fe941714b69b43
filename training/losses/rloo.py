"""REINFORCE leave-one-out: the other samples of a prompt are the baseline."""

from torch import Tensor


def leave_one_out(rewards: Tensor) -> Tensor:
    """Reward of each sample less the mean reward of the other samples of its prompt, (G, K).

    rewards: K samples for each of G prompts, (G, K). The loss is `ppo_policy` with these advantages.
    Errors: ValueError for K < 2.
    Source: Ahmadian et al. 2024, arXiv 2402.14740.
    """
    samples = rewards.shape[-1]
    if samples < 2:
        raise ValueError(f"leave_one_out needs at least 2 samples a prompt, got {samples}")
    others = (rewards.sum(-1, keepdim=True) - rewards) / (samples - 1)
    return rewards - others
