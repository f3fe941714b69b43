"""Identity preference optimisation: regression of the log-ratio gap on a finite target.

Two incompatible readings are in use, so both have a name: `ipo_sum` is the printed formula, `ipo_mean` what most
implementations train. They ask for very different gaps at the same tau.
"""

from torch import Tensor

from trimtab.training.losses.types import PairLengths, PairLogps, log_ratio_gap, per_token


def ipo_sum(policy: PairLogps, reference: PairLogps, *, tau: float = 0.5) -> Tensor:
    """Squared distance of each pair's log-ratio gap from 1/(2 tau), (B,), in nats squared.

    policy, reference: summed completion log-probabilities, each (B,).
    tau: weight of staying near the reference, > 0. With labels right with probability p the optimal gap is (p - 1/2)/tau.
    Source: Azar et al. 2023, arXiv 2310.12036, Eq. 17.
    """
    return (log_ratio_gap(policy, reference) - 1 / (2 * tau)).square()


def ipo_mean(policy: PairLogps, reference: PairLogps, lengths: PairLengths, *, tau: float = 0.5) -> Tensor:
    """`ipo_sum` on token means, (B,); the gap asked for is 1/(2 tau) nats a token.

    Source: Azar et al. 2023, arXiv 2310.12036, Eq. 17.
    Deviation: token means replace sums, as in TRL and HALOs.
    """
    return ipo_sum(per_token(policy, lengths), per_token(reference, lengths), tau=tau)
