"""The prompts of new rows, computed together in chunks, so that running rows need not wait for a long prompt's end."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trimtab.server.engines.transformers.cache import Frame, RowCache, RowStates
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.server.engines.transformers.prefixes import Found


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt and what is known of its start."""

    ids: tuple[int, ...]
    found: Found | None = None

    @property
    def remainder(self) -> int:
        """Tokens left to compute."""
        return len(self.ids) - (self.found.length if self.found else 0)


class Prefill:
    """A left-padded batch of prompts; every row computes as many tokens as the one with the most left."""

    def __init__(self, model: LoadedModel, prompts: Sequence[Prompt]) -> None:
        self._model = model
        self.prompts = tuple(prompts)
        lengths = [len(prompt.ids) for prompt in prompts]
        width, steps = max(lengths), max(prompt.remainder for prompt in prompts)
        self.reused = tuple(max(0, length - steps) for length in lengths)
        """Tokens of each prompt that came from the store."""
        frame = Frame(len(prompts), width, rows=len(prompts), end=width - steps)
        self.cache = RowCache(model.windows, frame)
        for row, (prompt, reused) in enumerate(zip(prompts, self.reused, strict=True)):
            if reused and prompt.found:
                self.cache.put(row, [(keys[:, :reused], values[:, :reused]) for keys, values in prompt.found.states])
        device = model.device
        self._ids = torch.tensor([_left_padded(prompt.ids[-steps:], steps) for prompt in prompts], device=device)
        columns = torch.arange(width, device=device)
        pads = torch.tensor([[width - length] for length in lengths], device=device)
        self._mask = columns >= pads if min(lengths) < width else None
        self._positions = (columns[width - steps :] - pads).clamp_(min=0)
        self._done = 0

    @property
    def remaining(self) -> int:
        """Columns left to compute."""
        return int(self._ids.shape[1]) - self._done

    @property
    def done(self) -> int:
        """Columns computed so far."""
        return self._done

    def advance(self, columns: int, *, keep_all: bool = False) -> torch.Tensor:
        """Computes up to that many columns; logits (rows, 1 or the computed columns, vocabulary)."""
        chunk = slice(self._done, min(self._done + columns, self._ids.shape[1]))
        ids = self._ids[:, chunk]
        size = ids.shape[1]
        seen = self.cache.frame.end + size
        mask = None if self._mask is None else self._mask[:, :seen]
        logits = self._model.forward(ids, self._positions[:, chunk], mask, self.cache, keep=size if keep_all else 1)
        self._done += size
        return logits

    def states(self, row: int) -> RowStates:
        """Keys and values of one prompt, views."""
        return self.cache.row(row, len(self.prompts[row].ids))


def _left_padded(ids: Sequence[int], width: int) -> list[int]:
    """The ids behind as many zeros as fill the width."""
    return [0] * (width - len(ids)) + list(ids)
