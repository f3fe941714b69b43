"""The running batch: one forward a step for all rows. Rows join at the end; the last row fills the place of one that leaves."""

from collections.abc import Sequence

import torch

from trimtab.server.engines.transformers.cache import Frame, RowCache, RowStates
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.server.engines.transformers.row import Row

ROOM = 256
"""Columns that are kept free behind the longest row when buffers are laid out; longer rows get more."""
SLACK = 64
"""Columns kept free before it, for longer rows that join."""
FIRST_ROWS = 8


class Batch:
    """Rows that decode together."""

    def __init__(self, model: LoadedModel, max_rows: int) -> None:
        self._model = model
        self._max_rows = max_rows
        self.rows: list[Row] = []
        self._lengths: list[int] = []
        self._next_ids: list[int] = []
        self._padded = False
        self._cache: RowCache | None = None
        self._mask = torch.zeros(0, 0, dtype=torch.bool)

    @property
    def intact(self) -> bool:
        """Whether rows and buffers agree; false after an error in the middle of a move."""
        cache = self._cache
        if cache is None:
            return not self.rows
        return cache.frame.rows == len(self.rows) and all(layer.frame is cache.frame for layer in cache.layers)

    def join(self, row: Row, states: RowStates) -> None:
        """Adds a row whose states are those of all its tokens but the last."""
        length = states[0][0].shape[-2]
        cache = self._room_for(length)
        frame, index = cache.frame, cache.frame.rows
        frame.rows += 1
        frame.start = frame.end - length if index == 0 else min(frame.start, frame.end - length)
        cache.put(index, states)
        self._mask[index] = torch.arange(frame.columns, device=self._mask.device) >= frame.end - length
        self.rows.append(row)
        self._lengths.append(length)
        self._next_ids.append(row.output[-1])
        self._padded = min(self._lengths) < frame.length

    def step(self) -> torch.Tensor:
        """Feeds every row's last token; logits (rows, vocabulary)."""
        cache = self._room_for(1, rows=0)
        frame, device = cache.frame, self._model.device
        ids = torch.tensor(self._next_ids, device=device).unsqueeze(1)
        positions = torch.tensor(self._lengths, device=device).unsqueeze(1)
        mask = self._mask[: frame.rows, frame.start : frame.end + 1] if self._padded else None
        logits = self._model.forward(ids, positions, mask, cache)
        self._lengths = [length + 1 for length in self._lengths]
        return logits[:, -1]

    def feed(self) -> None:
        """Takes each row's newest token as its next input."""
        self._next_ids = [row.output[-1] for row in self.rows]

    def states(self, index: int) -> RowStates:
        """Keys and values of a row, views."""
        assert self._cache is not None
        return self._cache.row(index, self._lengths[index])

    def leave(self, indices: Sequence[int]) -> None:
        """Removes rows."""
        for index in sorted(indices, reverse=True):
            self._fill(index, len(self.rows) - 1)
        if not self.rows:
            self.clear()
            return
        if indices and self._cache is not None:
            frame = self._cache.frame
            frame.start = frame.end - max(self._lengths)
            self._padded = min(self._lengths) < frame.length

    def clear(self) -> None:
        """Removes all rows and frees the buffers."""
        self.rows, self._lengths, self._next_ids = [], [], []
        self._padded, self._cache = False, None

    def _fill(self, index: int, last: int) -> None:
        """Moves the last row to a place and shortens the batch by one."""
        assert self._cache is not None
        if index != last:
            self._cache.put(index, self.states(last))
            self._mask[index] = self._mask[last]
            self.rows[index] = self.rows[last]
            self._lengths[index] = self._lengths[last]
            self._next_ids[index] = self._next_ids[last]
        for values in (self.rows, self._lengths, self._next_ids):
            values.pop()
        self._cache.frame.rows -= 1

    def _room_for(self, length: int, *, rows: int = 1) -> RowCache:
        """The cache, with a free column behind and room for that many more rows of that length."""
        if self._cache is None:
            self._cache = RowCache(self._model.windows, Frame(0, 0))
        frame = self._cache.frame
        wanted = frame.rows + rows
        if wanted <= frame.row_capacity and length <= frame.end < frame.columns:
            return self._cache
        longest = max(length, frame.length)
        row_capacity = frame.row_capacity
        if wanted > row_capacity:
            row_capacity = min(self._max_rows, max(FIRST_ROWS, 2 * row_capacity))
        end = SLACK + longest
        columns = end + max(ROOM, longest // 2)
        moved = Frame(row_capacity, columns, rows=frame.rows, start=end - frame.length, end=end)
        self._cache.relayout(moved)
        device = self._model.device
        begins = torch.tensor([[end - length] for length in self._lengths], dtype=torch.long, device=device).view(-1, 1)
        self._mask = torch.zeros(row_capacity, columns, dtype=torch.bool, device=device)
        self._mask[: frame.rows] = torch.arange(columns, device=device) >= begins
        return self._cache
