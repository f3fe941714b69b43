"""The clients, `OpenAI` and `AsyncOpenAI`, loaded on first use: what a server child needs from here is light."""

from typing import TYPE_CHECKING, Any

__all__ = ["AsyncOpenAI", "LocalServerError", "OpenAI"]

if TYPE_CHECKING:
    from trimtab.server.client.asynchronous import AsyncOpenAI
    from trimtab.server.client.local import LocalServerError
    from trimtab.server.client.synchronous import OpenAI

_HOMES = {"AsyncOpenAI": "asynchronous", "LocalServerError": "local", "OpenAI": "synchronous"}


def __getattr__(name: str) -> Any:
    """A class of this package, imported when it is asked for."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"trimtab.server.client.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'trimtab.server.client' has no attribute {name!r}")
