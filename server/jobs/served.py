"""The worker of a running server: begins once there is a database to look into, ends before the engines do."""

import asyncio
import logging
from functools import partial

from trimtab.server.api.auth import Keyring
from trimtab.server.api.limits import Gate
from trimtab.server.api.metrics import Metrics
from trimtab.server.jobs.answerers import answerer_of, pauses
from trimtab.server.jobs.means import NOT_NOW, Means
from trimtab.server.jobs.measures import JobMetrics
from trimtab.server.jobs.opened import Jobs, ServedJobs
from trimtab.server.jobs.records import BatchStatus
from trimtab.server.jobs.threads import Threads
from trimtab.server.jobs.turns import Turns
from trimtab.server.jobs.worker import Worker, worker_name
from trimtab.server.lines.concurrency import lines_at_once
from trimtab.server.middleware.body_limit import MIB
from trimtab.server.service import Service
from trimtab.server.settings import Settings

logger = logging.getLogger(__name__)

SPARE_THREADS = 4
"""Beside one for each batch: leases, claims, sweeps."""


class ServedBatches:
    """`app.state.batches`."""

    def __init__(self, settings: Settings, jobs: ServedJobs, keyring: Keyring, gate: Gate, metrics: Metrics) -> None:
        self._settings = settings
        self._jobs = jobs
        self._keyring = keyring
        self._calm = gate.admission.calm
        self._metrics = JobMetrics(metrics, self._working)
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, service: Service) -> None:
        """Go on with what there is to do, or wait until there is. Raises ConfigFileError where the database cannot be one."""
        if self._jobs.in_use:
            try:
                await self._jobs.get()
            except NOT_NOW as error:
                logger.warning("batches wait: %s", error)
        self._task = asyncio.create_task(self._work(service), name="batches")
        self._task.add_done_callback(_tell)

    async def stop(self) -> None:
        """End in good order: no further line begins, those in work are aborted, and other servers may go on. Twice is once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def wake(self) -> None:
        """A batch was made."""
        if self._worker is not None:
            self._worker.wake()

    def notice(self, id: str) -> None:
        """A batch was cancelled."""
        if self._worker is not None:
            self._worker.notice(id)

    async def _work(self, service: Service) -> None:
        self._worker = Worker(self._means(await self._opened(), service))
        await self._worker.work()

    async def _opened(self) -> Jobs:
        """The files and batches: at once where there may be some from before, else once somebody asks for them."""
        if self._jobs.in_use:
            for pause_s in pauses():
                try:
                    return await self._jobs.get()
                except NOT_NOW as error:
                    logger.warning("batches wait: %s; trying again in %.1f s", error, pause_s)
                    await asyncio.sleep(pause_s)
        return await self._jobs.wait()

    def _means(self, jobs: Jobs, service: Service) -> Means:
        config = self._settings.jobs
        return Means(
            worker=worker_name(),
            jobs=jobs,
            threads=Threads(config.batches + SPARE_THREADS),
            turns=Turns(config.concurrency or lines_at_once(self._settings), self._calm),
            answerer_of=partial(answerer_of, service, self._keyring),
            metrics=self._metrics,
            line_bytes=int(self._settings.limits.body_mib * MIB),
        )

    def _working(self) -> dict[BatchStatus, int]:
        return dict(self._worker.working()) if self._worker is not None else {}


def _tell(task: "asyncio.Task[None]") -> None:
    """Say that the worker has failed; the server goes on without it."""
    if not task.cancelled() and task.exception() is not None:
        logger.error("no batch is worked on any more: the worker failed", exc_info=task.exception())
