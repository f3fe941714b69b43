"""The files and batches of a server: the store and the blobs, opened at their first use, and what is true of both.

A server that is asked for no file writes nothing. Everything here but `ServedJobs.get` and `ServedJobs.wait` blocks: call it
in a thread.
"""

import asyncio
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from trimtab.server.errors import BodyTooLarge, ServerError
from trimtab.server.jobs.blobs import Blobs
from trimtab.server.jobs.records import FileRecord, Purpose
from trimtab.server.settings import JobsConfig
from trimtab.server.wire import new_id
from trimtab.strategies.core.errors import EngineUnavailable

if TYPE_CHECKING:
    from trimtab.server.jobs.store import Store

logger = logging.getLogger(__name__)

FOLDER = "jobs"
"""Below the data directory."""
GIB = 1024**3
COPY_BYTES = 1024 * 1024
SWEEP_GRACE_S = 3600.0
"""Age from which bytes without a row are taken for what a dead server left."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """Rows and bytes together."""

    store: "Store"
    blobs: Blobs
    config: JobsConfig

    def expiry(self, created_at: int, after_s: int | None = None) -> int | None:
        """When a file of this age goes: after what its owner asked for or `jobs.retention_s`, whichever is first."""
        ages = [age for age in (after_s, self.config.retention_s) if age is not None and math.isfinite(age)]
        return created_at + int(min(ages)) if ages else None

    def new_file(
        self,
        owner: str,
        filename: str,
        purpose: Purpose,
        size: int,
        *,
        id: str | None = None,
        expires_after_s: int | None = None,
    ) -> FileRecord:
        """The record of a file made now, which is not kept yet; its id, unless given, is fresh."""
        now = int(time.time())
        return FileRecord(id or new_id("file"), owner, filename, size, now, purpose, self.expiry(now, expires_after_s))

    def add_file(self, record: FileRecord, source: BinaryIO) -> None:
        """Keep a file and its bytes, or nothing. Raises StorageFull, and BodyTooLarge beyond `jobs.key_gib`."""
        quota = None if self.config.key_gib is None else int(self.config.key_gib * GIB)
        with self.blobs.create(record.id) as out:
            shutil.copyfileobj(source, out, COPY_BYTES)
        try:
            self.store.add_file(record, quota=quota)
        except BodyTooLarge:  # after another error the row may be there all the same; what has none is swept
            self.blobs.delete(record.id)
            raise

    def delete_file(self, owner: str, id: str) -> None:
        """Delete a file and its bytes. Raises NotFound, and Conflict where a batch still works on it."""
        self.store.delete_file(owner, id)
        self.blobs.delete(id)

    def expire(self, now: float) -> int:
        """Delete the files that are over age, but for the input of a batch that still works. Returns how many."""
        over = self.store.expired_files(now)
        for file in over:
            try:
                self.delete_file(file.owner, file.id)
            except ServerError as error:  # another server was faster, or a batch has begun on it
                logger.debug("the file %s stays for now: %s", file.id, error)
        return len(over)

    def sweep(self, now: float | None = None) -> int:
        """Delete the bytes that no row knows, and what was half written, an hour after the last write. Returns how many."""
        before = (time.time() if now is None else now) - SWEEP_GRACE_S
        return self.blobs.sweep(self.store.known_files, before=before)

    def close(self) -> None:
        """Close the database; twice is once."""
        self.store.close()


def open_jobs(config: JobsConfig, data: Path) -> Jobs:
    """The files and batches below a data directory.

    Raises ConfigFileError for a URL that cannot be used or a database of a newer version, EngineUnavailable
    (`jobs_unavailable`) and StorageFull.
    """
    from trimtab.server.jobs.store import Store

    folder = data / FOLDER
    url = config.database.get_secret_value() if config.database is not None else None
    return Jobs(Store.open(url, folder), Blobs(folder / "files"), config)


Opening = Callable[[JobsConfig, Path], Jobs]


class ServedJobs:
    """`app.state.jobs`."""

    def __init__(self, config: JobsConfig, data: Path, *, opening: Opening = open_jobs) -> None:
        """`data`: the server's data directory; nothing is read or made there before `opening` is called at the first use."""
        self.config = config
        self._data = data
        self._opening = opening
        self._lock = asyncio.Lock()
        self._opened = asyncio.Event()
        self._jobs: Jobs | None = None
        self._closed = False

    @property
    def in_use(self) -> bool:
        """Whether there may be batches to go on with: a database is configured, or one was made by an earlier server."""
        return self.config.database is not None or (self._data / FOLDER).is_dir()

    async def get(self) -> Jobs:
        """The files and batches, opened by the first caller, who also sweeps.

        Raises as `open_jobs`; what `in_use` says should have been opened at the start, where a wrong configuration is told.
        """
        async with self._lock:
            if self._closed:
                raise EngineUnavailable("the server is shutting down", code="jobs_unavailable")
            if self._jobs is None:
                self._jobs = await asyncio.to_thread(self._open)
                self._opened.set()
            return self._jobs

    async def wait(self) -> Jobs:
        """The files and batches once somebody has opened them."""
        await self._opened.wait()
        return await self.get()

    async def close(self) -> None:
        """Close what was opened; twice is once."""
        async with self._lock:
            self._closed = True
            if self._jobs is not None:
                await asyncio.to_thread(self._jobs.close)

    def _open(self) -> Jobs:
        jobs = self._opening(self.config, self._data)
        try:
            swept = jobs.sweep()
        except BaseException:
            jobs.close()
            raise
        if swept:
            logger.info("%d files that an earlier server had left half made were deleted", swept)
        return jobs
