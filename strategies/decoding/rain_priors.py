"""Candidates of RAIN's tree and their priors: token sets, their joint probabilities, what becomes of them at an expansion.

Source: Li et al. 2023, arXiv 2309.07124; the bounds of the greedy set, the 15 most likely tokens and the mixture at roots are
the released code's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of tokens that may come next, with its joint probability."""

    tokens: Tokens
    probability: float


def candidate_set(greedy: Candidate, sampled: Iterable[Candidate], most: int) -> tuple[Candidate, ...]:
    """The greedy set and at most `most` sampled ones, duplicates dropped.

    The greedy one's probability is held between two bounds that the sampled ones set: at most their sum, at least the sum of
    their largest and their smallest.
    """
    distinct: dict[Tokens, Candidate] = {}
    for candidate in sampled:
        if len(distinct) < most and candidate.tokens != greedy.tokens:
            distinct.setdefault(candidate.tokens, candidate)
    if not distinct:
        return (greedy,)
    known = [candidate.probability for candidate in distinct.values()]
    held = max(min(greedy.probability, sum(known)), max(known) + min(known))
    return (Candidate(greedy.tokens, held), *distinct.values())


def renormalised(logprob: float, top: Mapping[int, float], k: int, temperature: float = 1.0) -> float:
    """Probability of a token among the `k` most likely ones.

    logprob, top: raw log-probabilities in nats, of the token and of the most likely ids.
    """
    scaled = [value / temperature for value in sorted(top.values(), reverse=True)[:k]]
    highest = scaled[0]
    return float(np.exp(logprob / temperature - highest) / np.exp(np.array(scaled) - highest).sum())


def normalised(weights: Sequence[float]) -> list[float]:
    """The weights over their sum; equal shares where all vanish."""
    total = sum(weights)
    return [weight / total for weight in weights] if total > 0 else [1 / len(weights)] * len(weights)


def mixed_with_uniform(priors: Sequence[float], share: float) -> list[float]:
    """The priors with a share of equal ones, of sum 1."""
    return normalised([(1 - share) * prior + share / len(priors) for prior in priors])
