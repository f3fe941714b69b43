"""An array that grows at its end in amortised constant time."""

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)


class Growing(Generic[Number]):
    """Values of one type, or rows of them, contiguous."""

    def __init__(self, dtype: type[Number], width: int | None = None, *, room: int = 0) -> None:
        """room: length up to which nothing is copied; memory is taken when it is written to."""
        shape = (room,) if width is None else (room, width)
        self._room: npt.NDArray[Number] = np.empty(shape, dtype=dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> npt.NDArray[Number]:
        """What is held, shape (n,) or (n, width); a view, to be written to in place."""
        return self._room[: self._length]

    def extend(self, values: npt.ArrayLike) -> None:
        """Appends values."""
        new: npt.NDArray[Any] = np.asarray(values, dtype=self._room.dtype)
        needed = self._length + len(new)
        if needed > len(self._room):
            room = np.empty((max(needed, len(self._room) * 3 // 2, 16), *self._room.shape[1:]), dtype=self._room.dtype)
            room[: self._length] = self.values
            self._room = room
        self._room[self._length : needed] = new
        self._length = needed

    def keep(self, kept: npt.NDArray[np.bool_]) -> None:
        """Leaves those for which `kept` is True, in their order, and gives the room of the rest back."""
        self._room = self.values[kept]
        self._length = len(self._room)
