"""Trimtab: inference-time alignment around any language model, behind an OpenAI endpoint."""

from typing import TYPE_CHECKING, Any

from trimtab.version import VERSION as __version__

__all__ = ["AsyncOpenAI", "OpenAI", "__version__"]

if TYPE_CHECKING:
    from trimtab.server.client import AsyncOpenAI, OpenAI


def __getattr__(name: str) -> Any:
    """Load the client classes on first use, so that importing trimtab stays instant."""
    if name in {"OpenAI", "AsyncOpenAI"}:
        from trimtab.server import client

        return getattr(client, name)
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
