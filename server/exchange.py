"""What an endpoint and the service exchange: who asks, what, and the answer. No HTTP, no engine."""

import time
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
    arrived: float = field(default_factory=time.monotonic)
    """When it came, on `time.monotonic()`; deadlines run from here, so that a wait for a turn counts."""
    priority: int = 0
    """Engines run lower numbers first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    body: Wire
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """A streamed answer. Nothing runs before the first event is asked for; `headers` are complete once it is there."""

    events: AsyncGenerator[str, None]
    """JSON strings of chunks; a failure is raised, before the first event or after it."""
    headers: dict[str, str] = field(default_factory=dict)
    keep_alive_s: float = 0.0
    """Idle time after which a comment keeps the connection open and commits the answer to 200; 0 = never."""
