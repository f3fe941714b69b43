"""How well the utility of a system follows that of its users: the survey's definition of alignment, as measures of pairs."""

from torch import Tensor


def utility_gap(human: Tensor, agent: Tensor) -> Tensor:
    """Absolute difference of the two utility gaps of each pair, (B,); 0 is perfect alignment.

    human, agent: U(y1) - U(y2) of each pair by either utility, (B,).
    Source: Wang et al. 2024 (survey), arXiv 2403.04204, Eq. 1.
    Deviation: the absolute value is ours; the expectation of the printed signed difference is 0 for exchangeable y1 and y2.
    """
    return (human - agent).abs()


def pair_agreement(human: Tensor, agent: Tensor) -> Tensor:
    """1 where both utilities order the pair alike, 0 where they differ, 1/2 where only one of them sees a tie, (B,).

    human, agent: U(y1) - U(y2) of each pair by either utility, (B,). The mean is the pairwise accuracy. No
    gradient flows through it.
    """
    return 1 - (human.sign() - agent.sign()).detach().abs() / 2
