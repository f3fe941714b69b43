"""Work on files and batches behind a route: in its turn, and off the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request

from trimtab.server.api.respond import within_limits
from trimtab.server.exchange import Principal
from trimtab.server.jobs.opened import Jobs, ServedJobs

Result = TypeVar("Result")


async def on_jobs(request: Request, caller: Principal, work: Callable[[Jobs], Result]) -> Result:
    """The result of blocking work. Raises what the work raises, and what opening the store does."""
    served: ServedJobs = request.app.state.jobs

    async def run() -> Result:
        jobs = await served.get()
        return await asyncio.to_thread(work, jobs)

    result: Result = await within_limits(request, caller, run)
    return result
