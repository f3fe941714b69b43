"""A service in this process that answers lines, and how many of them it works on at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from trimtab.server.api.auth import everybody
from trimtab.server.assembly import build
from trimtab.server.lines.answering import Answerer, ServiceAnswerer
from trimtab.server.lines.concurrency import lines_at_once
from trimtab.server.lines.offline import PatientAnswerer
from trimtab.server.service import Service
from trimtab.server.settings import Settings


@dataclass(frozen=True, slots=True)
class InProcess:
    """`trimtab.server.lines.offline.Place`: a service of this process."""

    settings: Settings
    alignment: Mapping[str, Any] | None = None
    """Of lines that have none."""
    build: Callable[[Settings], Service] = build
    """What makes the service; fetches its models."""

    @property
    def concurrency(self) -> int:
        """Lines in work at once."""
        return lines_at_once(self.settings)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Answerer]:
        """What answers lines inside the block: a service started for it and closed after it.

        Policies that hold for everybody hold here too.
        """
        caller = everybody(self.settings.policies)
        service = await asyncio.to_thread(self.build, self.settings)
        await service.start()
        try:
            yield PatientAnswerer(ServiceAnswerer(service, caller, self.alignment))
        finally:
            await service.close()
