"""In which order examples are seen: phases one after another, each shuffled anew every pass. It is drawn whole, from a seed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.data import Sampler

from trimtab.training.data.examples import Example


@dataclass(frozen=True, slots=True)
class Stretch:
    """Examples, and how many passes are made over them."""

    examples: tuple[Example, ...]
    epochs: float


def ordered(stretches: Sequence[Stretch], *, seed: int, total: int | None = None, shuffled: bool = True) -> list[Example]:
    """Every example in the order it is trained on.

    total: how many in all, in place of the stretches' own sum; each keeps its share. shuffled: else in the order given.
    """
    natural = [len(stretch.examples) * stretch.epochs for stretch in stretches]
    factor = 1.0 if total is None else total / sum(natural)
    counts = [math.ceil(size * factor - 1e-9) for size in natural]
    found = [
        example
        for number, (stretch, count) in enumerate(zip(stretches, counts, strict=True))
        for example in _drawn(stretch.examples, count, seed + 1000 * number, shuffled)
    ]
    return found[: total if total is not None else len(found)]


def _drawn(examples: Sequence[Example], count: int, seed: int, shuffled: bool) -> Iterator[Example]:
    generator = torch.Generator().manual_seed(seed)
    while count > 0:
        places = torch.randperm(len(examples), generator=generator).tolist() if shuffled else range(len(examples))
        yield from (examples[place] for place in places[:count])
        count -= len(examples)


class Shares(Sampler[list[int]]):
    """Micro-batches of one process out of several, as places in the order.

    Step s of size `batch x accumulation x processes` is cut the same way whatever the numbers, so that their product alone
    decides which examples a step holds. Where the last step is short, a process without an example gets the last one: its
    weight is 0 there (`-1 - place` says so).
    """

    def __init__(self, length: int, batch: int, accumulation: int, *, process: int = 0, processes: int = 1) -> None:
        self._length, self._batch, self._accumulation = length, batch, accumulation
        self._process, self._processes = process, processes

    def __len__(self) -> int:
        return math.ceil(self._length / (self._batch * self._processes))

    def __iter__(self) -> Iterator[list[int]]:
        wide = self._batch * self._processes
        for start in range(0, self._length, wide):
            begin = start + self._process * self._batch
            places = list(range(begin, min(begin + self._batch, self._length)))
            yield places or [-1 - (self._length - 1)]


def at(examples: Sequence[Example], place: int) -> Example:
    """The example at a place of `Shares`."""
    return examples[place] if place >= 0 else replace(examples[-1 - place], weight=0.0)
