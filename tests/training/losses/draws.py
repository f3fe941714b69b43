"""Random pairs and ragged lists for the properties: a hundred draws at once, since every loss returns one value an item."""

from typing import NamedTuple

import torch
from torch import Tensor

from trimtab.training.losses import PairLengths, PairLogps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(size: int, *, seed: int, scale: float = 3.0, mean: float = 0.0) -> Tensor:
    return mean + scale * torch.randn(size, generator=generator(seed), dtype=torch.float64)


def pair(size: int = 100, *, seed: int = 0) -> PairLogps:
    return PairLogps(normal(size, seed=seed, mean=-20), normal(size, seed=seed + 1000, mean=-20))


def lengths(size: int = 100, *, seed: int = 0) -> PairLengths:
    drawn = torch.randint(1, 30, (2, size), generator=generator(seed))
    return PairLengths(drawn[0], drawn[1])


ONE_TOKEN = PairLengths(torch.ones(100, dtype=torch.int64), torch.ones(100, dtype=torch.int64))


class Lists(NamedTuple):
    means: Tensor
    scores: Tensor
    group: Tensor
    groups: int


def lists(*, groups: int = 100, levels: int = 4, seed: int = 0) -> Lists:
    """Lists of 1 to 6 rows whose scores have `levels` values, so that ties are common; 0 levels: no ties."""
    sizes = torch.randint(1, 7, (groups,), generator=generator(seed))
    group = torch.repeat_interleave(torch.arange(groups), sizes)
    rows = len(group)
    scores = torch.randint(0, levels, (rows,), generator=generator(seed + 1)) if levels else normal(rows, seed=seed + 1)
    return Lists(normal(rows, seed=seed + 2, scale=1.0, mean=-1.5), scores, group, groups)


def lists_of_two(*, gap: Tensor | int = 1, seed: int = 0) -> Lists:
    """A hundred lists of two with the better row first and the given score gap."""
    scores = torch.zeros(100, 2, dtype=torch.float64)
    scores[:, 0] = gap
    group = torch.arange(100).repeat_interleave(2)
    return Lists(normal(200, seed=seed, scale=1.0, mean=-1.5), scores.flatten(), group, 100)


def columns(lists: Lists) -> PairLogps:
    """The means of lists of two as pairs."""
    return PairLogps(lists.means[0::2], lists.means[1::2])
