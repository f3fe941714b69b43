"""Keys and values of recent prompts, so that a prompt that starts like one of them computes only its end."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from trimtab.server.engines.transformers.cache import RowStates

SHORTEST_REUSE = 32
"""Tokens in common below which a prefix is not worth the bookkeeping."""


@dataclass(slots=True)
class Prefix:
    """A stored sequence."""

    ids: tuple[int, ...]
    salt: str | None
    states: RowStates
    ends: dict[int, torch.Tensor] = field(default_factory=dict)
    """Number of tokens -> logits (vocabulary,) after them, where they are known."""

    @property
    def size_bytes(self) -> int:
        """Memory of its tensors."""
        tensors = [tensor for pair in self.states for tensor in pair] + list(self.ends.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@dataclass(frozen=True, slots=True)
class Found:
    """What a prompt has in common with a stored sequence."""

    states: RowStates
    """Of the whole stored sequence; the first `length` columns are the prompt's."""
    length: int
    logits: torch.Tensor | None
    """After the whole prompt, where it is stored as it is: then nothing is left to compute."""


class PrefixStore:
    """The least recently used sequence goes first when the capacity is reached."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._used = 0
        self._prefixes: OrderedDict[tuple[tuple[int, ...], str | None], Prefix] = OrderedDict()

    def find(self, ids: tuple[int, ...], salt: str | None) -> Found | None:
        """The stored sequence of this salt with the most tokens in common; None below a useful number."""
        best, length = None, 0
        for prefix in self._prefixes.values():
            if prefix.salt != salt:
                continue
            shared = shared_length(prefix.ids, ids)
            if shared == len(ids) and shared in prefix.ends:
                self._touch(prefix)
                return Found(prefix.states, shared, prefix.ends[shared])
            if shared > length:
                best, length = prefix, shared
        if best is None or length < SHORTEST_REUSE:
            return None
        self._touch(best)
        return Found(best.states, min(length, len(ids) - 1), None)

    def add(self, ids: tuple[int, ...], salt: str | None, states: RowStates, ends: dict[int, torch.Tensor]) -> None:
        """Stores copies of a sequence's states; what is known of the sequences it extends moves into it."""
        shorter = [key for key in self._prefixes if key[1] == salt and ids[: len(key[0])] == key[0]]
        for key in shorter:
            ends = {**self._remove(key).ends, **ends}
        copies = [(keys.clone(), values.clone()) for keys, values in states]
        prefix = Prefix(ids, salt, copies, {length: logits.clone() for length, logits in ends.items()})
        if prefix.size_bytes > self._capacity // 2:
            return
        self._prefixes[ids, salt] = prefix
        self._used += prefix.size_bytes
        while self._used > self._capacity:
            self._remove(next(iter(self._prefixes)))

    def clear(self) -> None:
        """Forgets everything."""
        self._prefixes.clear()
        self._used = 0

    def _touch(self, prefix: Prefix) -> None:
        self._prefixes.move_to_end((prefix.ids, prefix.salt))

    def _remove(self, key: tuple[tuple[int, ...], str | None]) -> Prefix:
        prefix = self._prefixes.pop(key)
        self._used -= prefix.size_bytes
        return prefix


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two sequences have in common at their start."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low
