"""Keys and values of a batch whose rows end at the same column; rows join and leave between steps.

A row of length L occupies the columns [end - L, end) of preallocated buffers, so a step appends one column to every row without
copying what is there, and the model sees an ordinary left-padded batch. It knows nothing of requests.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

RowStates = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of one row, a pair a layer, each (heads, length, dim)."""


class Frame:
    """Which part of the buffers is in use: rows [0, rows) and columns [start, end)."""

    __slots__ = ("columns", "end", "row_capacity", "rows", "start")

    def __init__(self, row_capacity: int, columns: int, *, rows: int = 0, start: int = 0, end: int = 0) -> None:
        self.row_capacity = row_capacity
        self.columns = columns
        self.rows = rows
        self.start = start
        self.end = end

    @property
    def length(self) -> int:
        """Columns in use."""
        return self.end - self.start


class RowLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's buffers, (row_capacity, heads, columns, dim); with a window, a step reads only the columns it can see."""

    def __init__(self, frame: Frame, window: int | None) -> None:
        super().__init__()
        self.frame = frame
        self.window = window
        self.is_sliding = window is not None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocates zeroed buffers for states of these shapes (rows first; masked columns must hold finite numbers)."""
        self.keys = self._buffer(key_states)
        self.values = self._buffer(value_states)
        self.is_initialized = True

    def _buffer(self, like: torch.Tensor) -> torch.Tensor:
        shape = (self.frame.row_capacity, like.shape[-3], self.frame.columns, like.shape[-1])
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes the new columns behind `end` and returns all that a query there may see."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        frame = self.frame
        end = frame.end + key_states.shape[-2]
        self.keys[: frame.rows, :, frame.end : end] = key_states
        self.values[: frame.rows, :, frame.end : end] = value_states
        first = frame.start if self.window is None else max(frame.start, frame.end - self.window + 1)
        return self.keys[: frame.rows, :, first:end], self.values[: frame.rows, :, first:end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(length, offset) of the columns that `update` will return, counted from `start`."""
        length = self.frame.length
        offset = 0 if self.window is None else max(length - self.window + 1, 0)
        return length - offset + query_length, offset

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self.frame.length

    def get_max_length(self) -> int:
        """No fixed limit."""
        return -1

    def relayout(self, frame: Frame) -> None:
        """Moves the columns in use to the end of another frame's."""
        old, rows, self.frame = self.frame, min(self.frame.rows, frame.rows), frame
        if not self.is_initialized:
            return
        keys, values = self.keys, self.values
        self.lazy_initialization(keys, values)
        target = slice(frame.end - old.length, frame.end)
        self.keys[:rows, :, target] = keys[:rows, :, old.start : old.end]
        self.values[:rows, :, target] = values[:rows, :, old.start : old.end]


class RowCache(Cache):  # type: ignore[misc]
    """The cache that the model's forward is given."""

    def __init__(self, windows: Sequence[int | None], frame: Frame) -> None:
        super().__init__(layers=[RowLayer(frame, window) for window in windows])
        self.frame = frame

    def relayout(self, frame: Frame) -> None:
        """Moves all rows into buffers of another frame, which must be able to hold them."""
        for layer in self.layers:
            layer.relayout(frame)
        self.frame = frame

    def put(self, row: int, states: RowStates, *, end: int | None = None) -> None:
        """Writes a row's states so that they end at column `end` (default the frame's)."""
        end = self.frame.end if end is None else end
        for layer, (keys, values) in zip(self.layers, states, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(keys, values)
            layer.keys[row, :, end - keys.shape[-2] : end] = keys
            layer.values[row, :, end - values.shape[-2] : end] = values

    def row(self, row: int, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Views of the last `length` columns of a row."""
        columns = slice(self.frame.end - length, self.frame.end)
        return [(layer.keys[row, :, columns], layer.values[row, :, columns]) for layer in self.layers]
