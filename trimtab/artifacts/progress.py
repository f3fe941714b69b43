"""Progress of a fetch or a conversion: a one-method port and its terminal form.

It knows nothing of models: a stage is a short word for people, amounts are bytes.
"""

import sys
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from tqdm import tqdm


class Progress(Protocol):
    """Told how far the current stage has come."""

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Note that `done` of `total` bytes of `stage` are finished.

        total: None while it is unknown. A new stage name ends the stage before it, and so does `done` reaching `total`.
        """


class SilentProgress:
    """Shows nothing."""

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Do nothing."""


class TerminalProgress:
    """One tqdm bar for each stage, on standard error by default; a line a stage where that is no terminal.

    Use it as a context manager, so that the last bar is closed also on an error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._bar: tqdm[Any] | None = None
        self._stage: str | None = None

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Move the bar of `stage` to `done` bytes, opening a new bar for a new stage."""
        if stage != self._stage:
            self.close()
            self._stage = stage
            if self._stream.isatty():
                self._bar = tqdm(desc=stage, total=total, unit="B", unit_scale=True, file=self._stream)
            else:
                self._stream.write(f"{stage}\n")
                self._stream.flush()
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            if done == total:
                self.close()

    def close(self) -> None:
        """End the open bar, leaving its last state on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the open bar."""
        self.close()
