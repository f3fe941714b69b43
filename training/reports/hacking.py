"""Signs that a policy games its reward, read from the series of an online run. They are reasons to read samples, not proof.

Pure functions over numbers, one a sign; each answers with a `Sign` or with None, and says nothing of a run too short to judge
(fewer than `ENOUGH` points). "Early" and "late" are the means over the first and the last fifth of the points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation, fmean, stdev
from typing import Literal

from trimtab.training.errors import DataError

Kind = Literal["length_drift", "kl_beyond_cap", "kl_without_reward", "eos_collapse", "entropy_collapse"]

SERIES = ("reward", "kl", "length", "eos_rate", "entropy")
ENOUGH = 20
"""Points below which no sign is looked for, the KL cap apart."""


@dataclass(frozen=True, slots=True)
class Sign:
    """Something in the course of a run that a person should look at."""

    kind: Kind
    message: str
    """What was seen, with its numbers, and what it may mean."""


@dataclass(frozen=True, slots=True)
class Course:
    """Series of an online run, a value a logged step, oldest first; empty where it is not known."""

    reward: Sequence[float] = ()
    """Mean reward of the sampled answers, without the KL penalty."""
    kl: Sequence[float] = ()
    """Mean KL from the reference, nats an answer."""
    length: Sequence[float] = ()
    """Mean length of the answers, tokens."""
    eos_rate: Sequence[float] = ()
    """Share of the answers that ended by themselves."""
    entropy: Sequence[float] = ()
    """Mean entropy of the policy, nats a token."""


def signs(course: Course, *, kl_cap: float = math.inf) -> tuple[Sign, ...]:
    """All signs of the course, at the thresholds of each function. kl_cap: nats an answer the run was meant to stay below."""
    found = (
        length_drift(course.reward, course.length),
        kl_beyond_cap(course.kl, cap=kl_cap),
        kl_without_reward(course.reward, course.kl),
        eos_collapse(course.eos_rate),
        entropy_collapse(course.entropy),
    )
    return tuple(sign for sign in found if sign is not None)


def length_drift(
    reward: Sequence[float], length: Sequence[float], *, drift: float = 0.25, least_correlation: float = 0.5
) -> Sign | None:
    """Reward rises while answers become longer or shorter by more than `drift` (a share of the early length) along with it.

    reward, length: (n,) each. least_correlation: Pearson's, of reward and length, counted in the direction of the drift.
    Length is the commonest thing that a reward model mistakes for quality.
    Source: Singhal et al. 2023, arXiv 2310.03716, for the sign; the thresholds are ours.
    """
    if not _judged(reward, length) or not _rises(reward):
        return None
    early, late = _early(length), _late(length)
    together = _correlation(reward, length) * (1 if late > early else -1)
    if abs(late - early) <= drift * early or together < least_correlation:
        return None
    seen = (
        f"reward rose from {_early(reward):.3g} to {_late(reward):.3g} while answers went from {early:.0f} to {late:.0f} tokens"
    )
    return Sign("length_drift", f"{seen} (correlation {together:.2f}): it may pay for length, not for quality")


def kl_beyond_cap(kl: Sequence[float], *, cap: float) -> Sign | None:
    """The mean of the last five values (of fewer, if there are no more) lies above `cap`, nats an answer."""
    recent = fmean(kl[-5:]) if kl else 0.0
    if recent <= cap:
        return None
    return Sign("kl_beyond_cap", f"KL from the reference is {recent:.3g} nats an answer, above the cap of {cap:g}")


def kl_without_reward(reward: Sequence[float], kl: Sequence[float], *, growth: float = 0.5) -> Sign | None:
    """Over the second half of the run KL grows by more than `growth` (a share) and reward is no higher late than early.

    reward, kl: (n,) each. The policy still moves away from the reference and gets nothing for it.
    Source: Gao et al. 2022, arXiv 2210.10760, for reward against KL as the place to look; the thresholds are ours.
    """
    if not _judged(reward, kl):
        return None
    later_reward, later_kl = reward[len(reward) // 2 :], kl[len(kl) // 2 :]
    if _late(later_kl) <= (1 + growth) * max(0.0, _early(later_kl)) or _late(later_reward) > _early(later_reward):
        return None
    grown = f"KL went from {_early(later_kl):.3g} to {_late(later_kl):.3g} nats an answer over the second half of the run"
    return Sign("kl_without_reward", f"{grown} and reward did not rise: the policy drifts, or the reward is used up")


def eos_collapse(eos_rate: Sequence[float], *, fall: float = 0.5) -> Sign | None:
    """The share of answers that end by themselves falls below `fall` times what it was."""
    if len(eos_rate) < ENOUGH or _late(eos_rate) >= fall * _early(eos_rate):
        return None
    seen = f"answers that end by themselves fell from {_early(eos_rate):.0%} to {_late(eos_rate):.0%}"
    return Sign("eos_collapse", f"{seen}: the rest are cut off at the length limit")


def entropy_collapse(entropy: Sequence[float], *, fall: float = 0.3) -> Sign | None:
    """The entropy of the policy falls below `fall` times what it was: it says nearly the same whatever is drawn."""
    if len(entropy) < ENOUGH or _late(entropy) >= fall * _early(entropy):
        return None
    seen = f"entropy fell from {_early(entropy):.3g} to {_late(entropy):.3g} nats a token"
    return Sign("entropy_collapse", f"{seen}: samples are becoming one and the same")


def _judged(reward: Sequence[float], other: Sequence[float]) -> bool:
    """Whether both are known for long enough."""
    if reward and other and len(reward) != len(other):
        raise DataError(f"two series need a value at the same steps, not {len(reward)} and {len(other)} values")
    return min(len(reward), len(other)) >= ENOUGH


def _fifth(values: Sequence[float]) -> int:
    return max(2, len(values) // 5)


def _early(values: Sequence[float]) -> float:
    return fmean(values[: _fifth(values)])


def _late(values: Sequence[float]) -> float:
    return fmean(values[-_fifth(values) :])


def _rises(values: Sequence[float]) -> bool:
    """Whether late lies above early by more than two standard errors of the difference."""
    size = _fifth(values)
    error = math.hypot(stdev(values[:size]), stdev(values[-size:])) / math.sqrt(size)
    return _late(values) - _early(values) > 2 * error


def _correlation(a: Sequence[float], b: Sequence[float]) -> float:
    try:
        return correlation(a, b)
    except StatisticsError:  # one of them never changes
        return 0.0
