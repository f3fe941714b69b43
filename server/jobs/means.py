"""What all batches of one worker share, and how its work on the disk lasts through a disk that is full for a while."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from trimtab.server.errors import StorageFull
from trimtab.server.jobs.answerers import FIRST_PAUSE_S, AnswererOf, pauses
from trimtab.server.jobs.measures import JobMetrics
from trimtab.server.jobs.opened import Jobs
from trimtab.server.jobs.threads import Threads
from trimtab.server.jobs.turns import Turns
from trimtab.strategies.core.errors import EngineUnavailable

logger = logging.getLogger(__name__)

Given = ParamSpec("Given")
Result = TypeVar("Result")
Clock = Callable[[], float]
"""Unix time."""

NOT_NOW = (StorageFull, EngineUnavailable)
"""What the store and the blobs raise while the disk is full or the database is away."""


@dataclass(frozen=True, slots=True)
class Means:
    """The tools of a worker."""

    worker: str
    """Its name, unique among all servers."""
    jobs: Jobs
    threads: Threads
    turns: Turns
    answerer_of: AnswererOf
    metrics: JobMetrics
    line_bytes: int
    """Bytes a line may have."""
    clock: Clock = time.time
    first_pause_s: float = FIRST_PAUSE_S
    """Before work on the disk is tried again for the first time."""

    async def kept(self, work: Callable[Given, Result], *args: Given.args, **named: Given.kwargs) -> Result:
        """The result of work on the store or the blobs, tried again while they cannot be written or read."""
        for pause_s in pauses(self.first_pause_s):
            try:
                return await self.threads.run(work, *args, **named)
            except NOT_NOW as error:
                logger.warning("%s; trying again in %.1f s", error, pause_s)
                await asyncio.sleep(pause_s)
        raise AssertionError("pauses never end")
