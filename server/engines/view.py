"""An engine as a role sees it: under one of its adapters, asked in the format of its checkpoint, or lent by a served model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from trimtab.artifacts import CorrectionTemplate
from trimtab.server.engines.base import Adapted, Engine, Health, TokenizerFace, WireFace
from trimtab.strategies.core.engine import Capabilities, Ports


def ports_of(engine: Engine, adapter: str | None) -> Ports:
    """What strategies may use of an engine: its own ports, or those of its model under an adapter."""
    if adapter is None:
        return engine.ports
    if not isinstance(engine, Adapted):
        raise TypeError(f"{type(engine).__name__} has no adapters")
    return engine.ports_under(adapter)


@dataclass(frozen=True, eq=False)
class View:
    """`Engine` over another one."""

    engine: Engine
    adapter: str | None = None
    correction: CorrectionTemplate | None = None
    """How the model is asked to correct."""
    is_lent: bool = False
    """Whether a served model starts and closes the engine."""

    @property
    def kind(self) -> str:
        """That of the engine."""
        return self.engine.kind

    @property
    def capabilities(self) -> Capabilities:
        """Those of the ports."""
        return self.ports.capabilities

    @property
    def ports(self) -> Ports:
        """What strategies may use in this role."""
        ports = ports_of(self.engine, self.adapter)
        if self.correction is None:
            return ports
        return replace(ports, capabilities=replace(ports.capabilities, correction=self.correction))

    @property
    def wire(self) -> WireFace:
        """That of the engine."""
        return self.engine.wire

    @property
    def tokenizer(self) -> TokenizerFace | None:
        """That of the engine."""
        return self.engine.tokenizer

    async def start(self) -> None:
        """Start the engine, unless somebody else does."""
        if not self.is_lent:
            await self.engine.start()

    async def close(self) -> None:
        """Close the engine, unless somebody else does."""
        if not self.is_lent:
            await self.engine.close()

    def health(self) -> Health:
        """That of the engine."""
        return self.engine.health()

    async def abort(self, request_id: str) -> None:
        """End the engine's work under this id."""
        await self.engine.abort(request_id)

    def metrics(self) -> Mapping[str, float]:
        """Those of the engine; a lent one is counted where it is served."""
        return {} if self.is_lent else self.engine.metrics()
