"""What an endpoint and the service exchange: who asks, what, and the answer. No HTTP, no engine."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.server.settings import PolicyConfig, Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    name: str = "anonymous"
    """Name of the API key; `anonymous` on a server without keys."""
    scopes: frozenset[Scope] = frozenset({"infer", "batch", "corpus", "admin"})
    policy: PolicyConfig | None = None
    """The first policy that matches the key."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A generating request after authentication and validation."""

    request_id: str
    """The server's own engine id, unique; never the client's x-request-id."""
    body: Mapping[str, Any]
    """The validated wire body, `alignment` included."""
    principal: Principal = field(default_factory=Principal)
    header_strategy: str | None = None
    """Value of the header x-alignment-strategy."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    body: Wire
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """A stream whose first event is ready, or a buffered one that may wait."""

    events: AsyncGenerator[str | None, None]
    """JSON strings of chunks; None = a keep-alive comment is due. Errors after the first event come as a last error object."""
    headers: Mapping[str, str] = field(default_factory=dict)
