"""The running engine calls of each request: which ids the engine knows them by, so that they can be ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from trimtab.strategies.core.engine import Call


@dataclass(frozen=True, slots=True)
class RunningCall:
    """One call under way."""

    name: str
    """Unique among the calls under way; the `Call.request_id`, numbered where that is taken."""
    engine_ids: tuple[str, ...]
    """What the engine calls its parts."""


class RunningCalls:
    """A register of calls under way, by `Call.request_id`."""

    def __init__(self) -> None:
        self._running: dict[str, dict[str, RunningCall]] = {}
        self._numbers = count(1)

    @contextmanager
    def enter(self, call: Call, prefix: str = "", parts: int | None = None) -> Iterator[RunningCall]:
        """Register a call for as long as the block runs.

        prefix: what the engine's layer puts before the name. parts: how many prompts it numbers; None = it does not.
        """
        mine = self._running.setdefault(call.request_id, {})
        name = call.request_id if call.request_id not in mine else f"{call.request_id}.{next(self._numbers)}"
        whole = f"{prefix}{name}"
        running = RunningCall(name, (whole,) if parts is None else tuple(f"{whole}-{i}" for i in range(parts)))
        mine[name] = running
        try:
            yield running
        finally:
            del mine[name]
            if not mine and self._running.get(call.request_id) is mine:
                del self._running[call.request_id]

    def engine_ids(self, request_id: str) -> list[str]:
        """Engine ids of everything under way for a request."""
        return [i for call in self._running.get(request_id, {}).values() for i in call.engine_ids]

    def all_engine_ids(self) -> list[str]:
        """Engine ids of everything under way."""
        return [i for request_id in self._running for i in self.engine_ids(request_id)]
