"""The bytes of files: a folder with one file an id. What has a name there is whole; names of clients play no part."""

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from trimtab.server.errors import NotFound, StorageFull
from trimtab.strategies.core.errors import EngineUnavailable

PART = ".part"
"""How the name of a file ends that is still being written."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AT_ONCE = 500

Known = Callable[[Sequence[str]], set[str]]
"""Those of some ids that are still wanted."""


def _created(path: Path) -> BinaryIO:
    """A new file for its owner's eyes only."""
    return cast(BinaryIO, open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)))


class Blobs:
    """The folder; it is made at the first write."""

    def __init__(self, folder: Path, *, new_file: Callable[[Path], BinaryIO] = _created) -> None:
        """`new_file` makes the file of a path and opens it for writing."""
        self._folder = folder
        self._new_file = new_file

    @contextmanager
    def create(self, id: str) -> Iterator[BinaryIO]:
        """A writer; the file is there, whole and on disk, when the block has ended, and not at all where it raises.

        Raises StorageFull, and EngineUnavailable (`jobs_unavailable`) where the folder cannot be written.
        """
        target = self._path(id)
        part = self._folder / f"{id}.{uuid.uuid4().hex}{PART}"
        with full_disk():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with self._new_file(part) as out:
                    yield out
                    out.flush()
                    os.fsync(out.fileno())
                part.replace(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            _sync_folder(self._folder)

    def open(self, id: str) -> BinaryIO:
        """The bytes for reading; they stay readable where the file is deleted meanwhile. Raises NotFound."""
        try:
            return cast(BinaryIO, self._path(id).open("rb"))
        except FileNotFoundError:
            raise _gone(id) from None

    def size(self, id: str) -> int:
        """Number of bytes. Raises NotFound."""
        try:
            return self._path(id).stat().st_size
        except FileNotFoundError:
            raise _gone(id) from None

    def delete(self, id: str) -> None:
        """Remove a file; one that is not there is no error."""
        self._path(id).unlink(missing_ok=True)

    def sweep(self, known: Known, *, before: float) -> int:
        """Remove what was last written before a Unix time and is half written or not known. Returns how many files."""
        stale = self._older(before)
        halves = [name for name in stale if name.endswith(PART)]
        ids = [name for name in stale if not name.endswith(PART) and _ID.fullmatch(name)]
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            wanted = known(some)
            halves += [name for name in some if name not in wanted]
        for name in halves:
            (self._folder / name).unlink(missing_ok=True)
        return len(halves)

    def _older(self, before: float) -> list[str]:
        if not self._folder.is_dir():
            return []
        return [path.name for path in self._folder.iterdir() if _written(path) < before]

    def _path(self, id: str) -> Path:
        if not _ID.fullmatch(id):
            raise ValueError(f"{id[:100]!r} is not the id of a file")
        return self._folder / id


@contextmanager
def full_disk() -> Iterator[None]:
    """Turns the system's refusal to write into an error that has a status."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("the disk that files are kept on is full; nothing of this one was kept") from error
        reason = error.strerror or type(error).__name__
        raise EngineUnavailable(f"files cannot be kept now: {reason}", code="jobs_unavailable") from error


def _gone(id: str) -> NotFound:
    return NotFound(f"the content of the file {id!r} is not there any more", param="file_id", code="file_not_found")


def _written(path: Path) -> float:
    """When a file was last written; one that has just gone is left alone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where folders can be synchronised."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
