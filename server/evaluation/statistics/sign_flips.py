"""Whether paired differences are centred at zero: how often chance alone, flipping their signs, gives as much."""

from typing import Literal

import numpy as np

from trimtab.server.evaluation.statistics.interval import Vector
from trimtab.server.evaluation.statistics.resampling import FEW, blocks

EXACT = 20
"""Differences other than zero up to which all ways to flip signs are gone through: 2^20."""
Way = Literal["exact", "drawn"]
"""All ways to flip signs, or some that are drawn."""


def sign_flip_p(differences: Vector, *, draws: int, seed: int) -> tuple[float, Way]:
    """The two-sided p-value of a mean difference of zero, in (0, 1], and how it was found.

    differences: (k,); zeros change nothing. Drawn p-values are (1 + as extreme) / (1 + draws), so never 0; all zeros give 1.
    Source: Fisher 1935, "The Design of Experiments"; Phipson and Smyth 2010, arXiv 1603.05766, for the drawn p.
    """
    sizes = np.abs(differences[differences != 0])
    least = abs(float(differences.sum())) - 1e-12 * float(sizes.sum())
    if len(sizes) <= EXACT:
        return float(np.mean(np.abs(_all_sums(sizes)) >= least)), "exact"
    extreme = int(np.sum(np.abs(_drawn_sums(sizes, draws, np.random.default_rng(seed))) >= least))
    return (1 + extreme) / (1 + draws), "drawn"


def _all_sums(sizes: Vector) -> Vector:
    """The sums under every choice of signs, (2^k,)."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _drawn_sums(sizes: Vector, draws: int, rng: np.random.Generator) -> Vector:
    """The sums under `draws` random choices of signs. Where few sizes differ, how many of each keep their sign is drawn."""
    distinct, counts = np.unique(sizes, return_counts=True)
    if len(distinct) <= FEW:
        kept = rng.binomial(counts, 0.5, size=(draws, len(counts)))
        return np.asarray((2 * kept - counts) @ distinct, dtype=np.float64)
    total = sizes.sum()
    sums = [2 * (_coins(rows, len(sizes), rng) @ sizes) - total for rows in blocks(draws, len(sizes))]
    return np.concatenate(sums)


def _coins(rows: int, width: int, rng: np.random.Generator) -> Vector:
    """0 or 1, (rows, width)."""
    packed = np.frombuffer(rng.bytes(rows * (-(-width // 8))), dtype=np.uint8).reshape(rows, -1)
    return np.unpackbits(packed, axis=1, count=width).astype(np.float64)
