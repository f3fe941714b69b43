"""Another OpenAI-compatible server as an engine: `UpstreamEngine`."""

from trimtab.server.engines.upstream.engine import UpstreamEngine

__all__ = ["UpstreamEngine"]
