"""An upstream engine in front of a fake upstream; pauses between attempts are recorded instead of spent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.asgi import ASGITransport, SyncASGITransport
from tests.server.engines.upstream.fake import FakeUpstream
from trimtab.server.engines.upstream import UpstreamEngine
from trimtab.server.settings import UpstreamConfig


@dataclass(slots=True)
class Setup:
    engine: UpstreamEngine
    fake: FakeUpstream
    pauses: list[float]


@pytest.fixture
async def setup() -> AsyncIterator[Callable[..., Awaitable[Setup]]]:
    async with AsyncExitStack() as stack:

        async def build(fake: FakeUpstream | None = None, **config: Any) -> Setup:
            fake = fake or FakeUpstream()
            pauses: list[float] = []

            async def wait(seconds: float) -> None:
                pauses.append(seconds)

            blocking = SyncASGITransport(fake.app())
            stack.callback(blocking.close)
            engine = UpstreamEngine(
                UpstreamConfig.model_validate({"url": "http://upstream.test/v1", **config}),
                name="mine",
                transport=ASGITransport(fake.app()),
                blocking_transport=blocking,
                wait=wait,
            )
            await engine.start()
            stack.push_async_callback(engine.close)
            fake.seen.clear()
            return Setup(engine, fake, pauses)

        yield build
