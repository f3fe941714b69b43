"""What another OpenAI-compatible server can do, asked the way `serve --upstream` asks it."""

import asyncio

from trimtab.cli.checks import Check
from trimtab.server.settings import UpstreamConfig
from trimtab.strategies.core.engine import Ports
from trimtab.strategies.core.errors import EngineError


def upstream(url: str, api_key: str | None) -> list[Check]:
    """One check: whether it can be reached, and its capabilities."""
    config = UpstreamConfig.model_validate({"url": url, "api_key": api_key, "max_retries": 0, "timeout_s": 15})
    try:
        ports = asyncio.run(_ports(config))
    except EngineError as error:
        return [Check("upstream", "fail", f"{url}: {error}", "check the URL (with its /v1), the key and that it runs")]
    told = ports.capabilities
    window = f"{told.max_model_len} tokens" if told.max_model_len else "unknown"
    return [
        Check("upstream", "ok", f"{url} answers; ports {', '.join(sorted(ports.names()))}; context window {window}"),
        *(Check("upstream", "note", note) for note in told.notes),
    ]


async def _ports(config: UpstreamConfig) -> Ports:
    from trimtab.server.engines.upstream import UpstreamEngine

    engine = UpstreamEngine(config, name="upstream")
    try:
        await engine.start()
        return engine.ports
    finally:
        await engine.close()
