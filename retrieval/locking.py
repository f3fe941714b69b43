"""A lock that many readers share and one writer has alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """A writer that waits is let in before new readers. A thread must not take it twice."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._waiting = 0
        self._written = False

    @property
    def is_wanted(self) -> bool:
        """Whether a writer waits."""
        return self._waiting > 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Beside other readers."""
        with self._changed:
            while self._written or self._waiting:
                self._changed.wait()
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if not self._readers:
                    self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone."""
        with self._changed:
            self._waiting += 1
            try:
                while self._written or self._readers:
                    self._changed.wait()
            finally:
                self._waiting -= 1
            self._written = True
        try:
            yield
        finally:
            with self._changed:
                self._written = False
                self._changed.notify_all()
