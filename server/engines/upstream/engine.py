"""Another OpenAI-compatible server as an engine: plain requests pass through, strategies get the ports it can carry."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import httpx2

from trimtab.server.engines.base import Health, TokenizerFace, WireFace
from trimtab.server.engines.upstream.link import Link
from trimtab.server.engines.upstream.ports import UpstreamPorts
from trimtab.server.engines.upstream.probe import probed
from trimtab.server.engines.upstream.profile import Learned, Profile
from trimtab.server.engines.upstream.tokenizer import UpstreamTokenizer
from trimtab.server.engines.upstream.tokens import UpstreamTokens
from trimtab.server.engines.upstream.wire import UpstreamWire
from trimtab.server.settings import UpstreamConfig
from trimtab.strategies.core.engine import Capabilities, Ports
from trimtab.strategies.core.errors import EngineError

logger = logging.getLogger(__name__)

CHECK_S = 30.0
"""Pause between two looks at a reachable upstream."""
CHECK_LOST_S = 2.0
"""Pause between two looks at one that is lost."""


class UpstreamEngine:
    """`Engine` over HTTP.

    name: what logs call it. transport, blocking_transport: in place of the network, for requests and for the tokenizer.
    wait: how a pause between attempts is spent.
    """

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        name: str,
        transport: httpx2.AsyncBaseTransport | None = None,
        blocking_transport: httpx2.BaseTransport | None = None,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self._link = Link(config, transport=transport, wait=wait)
        self._blocking_transport = blocking_transport
        self._state: Literal["starting", "ready", "closed"] = "starting"
        self._watch: asyncio.Task[None] | None = None
        self._tokenizer: UpstreamTokenizer | None = None
        self._take(Profile(config.model or name, max_model_len=config.max_model_len))

    @property
    def kind(self) -> str:
        """upstream."""
        return "upstream"

    @property
    def capabilities(self) -> Capabilities:
        """What it honours; what an upstream refuses later is taken off."""
        return self._learned.capabilities

    @property
    def ports(self) -> Ports:
        """Messages always; text where it has completions; tokens where it is a vLLM server."""
        return Ports(
            messages=self._ports,
            text=self._ports if self._profile.has_completions else None,
            tokens=self._tokens,
            capabilities=self.capabilities,
        )

    @property
    def wire(self) -> WireFace:
        """Requests as they are."""
        return self._wire

    @property
    def tokenizer(self) -> TokenizerFace | None:
        """The upstream's, where it is a vLLM server. Its calls block."""
        return self._tokenizer

    async def start(self) -> None:
        """Ask the upstream what it can do. Raises EngineUnavailable or UpstreamError where it does not say."""
        self._take(await probed(self._link))
        self._state = "ready"
        self._watch = asyncio.create_task(self._look_after(), name=f"upstream-{self.name}")
        logger.info("upstream %s serves %s as %s", self._link.base, self._profile.model, self.name)

    async def close(self) -> None:
        """Close all connections."""
        self._state = "closed"
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        if self._tokenizer is not None:
            self._tokenizer.close()
        await self._link.close()

    def health(self) -> Health:
        """Whether the upstream answered when last asked."""
        if self._state != "ready":
            return Health(self._state)
        return Health("ready") if self._link.reachable else Health("restarting", self._link.reason, CHECK_LOST_S)

    async def abort(self, request_id: str) -> None:
        """Close the connections of every request under this id."""
        self._link.flights.abort(request_id)

    def metrics(self) -> Mapping[str, float]:
        """Requests on their way, sent and repeated; whether the upstream is reachable."""
        return {
            "running": float(len(self._link.flights)),
            "upstream_requests_total": float(self._link.requests),
            "upstream_retries_total": float(self._link.retries),
            "upstream_reachable": float(self._link.reachable),
        }

    def _take(self, profile: Profile) -> None:
        """Serve under a profile."""
        self._profile = profile
        self._learned = Learned(profile.capabilities())
        self._wire = UpstreamWire(self._link, profile, self._learned)
        self._ports = UpstreamPorts(self._link, profile, self._learned)
        self._tokens: UpstreamTokens | None = None
        if profile.has_tokenizer:
            self._tokenizer = UpstreamTokenizer(self._link, profile, transport=self._blocking_transport)
            if profile.has_tokens:
                self._tokens = UpstreamTokens(self._link, profile, self._tokenizer)

    async def _look_after(self) -> None:
        """Look at the upstream now and then, sooner while it is lost, so that health follows without traffic."""
        while True:
            if self._link.reachable:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._link.lost.wait(), CHECK_S)
            await asyncio.sleep(0 if self._link.reachable else CHECK_LOST_S)
            with contextlib.suppress(EngineError):
                await self._link.get(f"{self._link.base}/models", retries=0)
