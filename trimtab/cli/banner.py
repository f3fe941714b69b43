"""What `serve` prints once it is ready: where, what, how it answers, who may call, and a call to try."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.version import VERSION

if TYPE_CHECKING:
    from trimtab.server.settings import Settings


_CHAT = '"messages": [{"role": "user", "content": "Hello!"}]'
_RAW = '"prompt": "Once upon a time"'


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that has become ready."""

    url: str
    """Where it listens, without a path: `http://127.0.0.1:8000`, or `unix:PATH`."""
    model: str
    """The default model's name."""
    engine: str
    """Kind of the engine that runs it."""
    strategy: Any
    """The default strategy, None where requests pass through."""
    keys: int
    """How many keys there are; 0 = open."""
    chats: bool = True
    """Whether it answers conversations; a base model continues raw prompts only."""


def exposure_warning(settings: "Settings") -> str | None:
    """The warning of a server without keys that others can reach, None where there is nothing to warn of."""
    if settings.keys or settings.http.is_private:
        return None
    host = settings.http.host
    return f"{host} is reachable from other machines and no API key is set: anyone may use this server. Set --api-key."


def render(ready: Ready) -> str:
    """The banner, without a trailing newline."""
    unix = ready.url.startswith("unix:")
    base = "http://localhost" if unix else ready.url
    strategy = "none, requests pass through" if ready.strategy is None else _compact(ready.strategy)
    auth = f"{ready.keys} API key{'s' if ready.keys > 1 else ''}" if ready.keys else "off, no API key is asked for"
    header = " -H 'Authorization: Bearer YOUR_KEY'" if ready.keys else ""
    socket = f" --unix-socket {ready.url.removeprefix('unix:')}" if unix else ""
    path, asked = ("chat/completions", _CHAT) if ready.chats else ("completions", _RAW)
    return (
        f"Trimtab {VERSION} is ready.\n\n"
        f"  URL       {ready.url if unix else base + '/v1'}\n"
        f"  Model     {ready.model}\n"
        f"  Engine    {ready.engine}\n"
        f"  Strategy  {strategy}\n"
        f"  Auth      {auth}\n"
        f"  Docs      {base}/docs\n\n"
        f"  curl{socket} {base}/v1/{path} -H 'Content-Type: application/json'{header} \\\n"
        f'    -d \'{{"model": "{ready.model}", "max_tokens": 60, {asked}}}\'\n'
    )


def _compact(strategy: Any) -> str:
    import json

    return strategy if isinstance(strategy, str) else json.dumps(strategy)
