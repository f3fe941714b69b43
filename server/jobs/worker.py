"""The worker: claims batches, works on a few at once, and deletes what is over age. One a server; servers share the work.

An idle one waits: for a batch that is made here, and every `jobs.lease_s` for what a server that died has left.
"""

import asyncio
import logging
import os
import socket
import uuid
from collections import Counter
from collections.abc import Mapping

from trimtab.server.jobs.means import NOT_NOW, Means
from trimtab.server.jobs.records import BatchRecord, BatchStatus
from trimtab.server.jobs.running import LeaseLost, Run

logger = logging.getLogger(__name__)

GRACE_S = 5.0
"""How long batches may take to keep what was answered when the server ends."""
SWEEP_S = 300.0
"""Between two looks for files that are over age."""


def worker_name() -> str:
    """A name no other worker has."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


class Worker:
    """Works until it is stopped."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._claimed: BatchRecord | None = None
        """What was claimed and is not begun: the server may end in between."""

    def wake(self) -> None:
        """Look for batches now: one was made."""
        self._changed.set()

    def notice(self, id: str) -> None:
        """Look at a batch now: it was cancelled. One that another worker has is seen there with its next renewal."""
        if id in self._runs:
            self._runs[id].notice()
        self.wake()

    def working(self) -> Mapping[BatchStatus, int]:
        """How many batches are in work, by status."""
        return Counter(run.record.status for run in self._runs.values())

    async def work(self) -> None:
        """Claim and sweep until cancelled; then batches in work end in good order, and others may have them."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._claim())
                group.create_task(self._sweep())
        finally:
            await self._end()

    async def _claim(self) -> None:
        means = self._means
        while True:
            self._changed.clear()
            record = await self._next() if len(self._runs) < means.jobs.config.batches else None
            if record is not None:
                self._begin(record)
                continue
            try:
                async with asyncio.timeout(means.jobs.config.lease_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _next(self) -> BatchRecord | None:
        """The next batch, which is ours then; none where there is none, and where the database is away."""
        try:
            return await self._means.threads.run(self._claim_one)
        except NOT_NOW as error:
            logger.warning("no batch can be claimed now: %s", error)
        except Exception:  # the border of a claim: one that fails must not end the worker
            logger.exception("no batch can be claimed")
        return None

    def _claim_one(self) -> BatchRecord | None:
        means = self._means
        self._claimed = means.jobs.store.claim(means.worker, means.clock(), means.jobs.config.lease_s)
        return self._claimed

    def _begin(self, record: BatchRecord) -> None:
        self._claimed = None
        if record.id in self._runs:  # the clock has jumped, after a sleep of the machine: the lease was over, and is ours again
            return
        run = self._runs[record.id] = Run(self._means, record)
        task = asyncio.create_task(self._through(run), name=f"batch {record.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _through(self, run: Run) -> None:
        """Work on a batch. Where that fails it stays claimed, so that it is tried again when its lease is over."""
        batch = run.record.id
        logger.info("the batch %s is %s; going on with it", batch, run.record.status)
        try:
            await run.work()
            await self._release(batch)
        except* LeaseLost:
            logger.warning("the batch %s is no longer held by this server; its work on it ends", batch)
        except* Exception:
            logger.exception("the work on the batch %s failed; it is tried again", batch)
        finally:
            del self._runs[batch]
            self.wake()

    async def _release(self, id: str) -> None:
        try:
            await self._means.threads.run(self._means.jobs.store.release, id, self._means.worker)
        except NOT_NOW as error:
            logger.warning("the batch %s stays claimed until its lease is over: %s", id, error)

    async def _sweep(self) -> None:
        """Delete files that are over age, now and every few minutes."""
        means = self._means
        while True:
            try:
                count = await means.threads.run(means.jobs.expire, means.clock())
                if count:
                    logger.info("%d files were over age and are deleted", count)
            except NOT_NOW as error:
                logger.warning("files over age cannot be deleted now: %s", error)
            except Exception:  # the border of a sweep
                logger.exception("files over age cannot be deleted")
            await asyncio.sleep(SWEEP_S)

    async def _end(self) -> None:
        if self._claimed is not None:
            await self._release(self._claimed.id)
        for run in self._runs.values():
            run.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._means.threads.close()
