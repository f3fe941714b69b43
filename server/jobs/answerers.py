"""What answers the lines of a batch: the service as the key that made it, asked again while it cannot serve."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trimtab.server.api.auth import Keyring
from trimtab.server.lines.answer import LineAnswer, not_run
from trimtab.server.lines.answering import Answerer, ServiceAnswerer
from trimtab.server.lines.request import RequestLine
from trimtab.server.service import Service

AnswererOf = Callable[[str], Answerer]
"""What answers for the key of this name."""

TRIES = 10
"""Requests of one line; the pauses between them are about four minutes in all."""
PASSING = frozenset({429, 502, 503, 504})
"""Statuses of a server that may well answer later."""
LASTING = frozenset({"insufficient_quota", "alignment_deadline"})
"""Codes under such a status that the line itself brings about, each time."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


def pauses(first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S) -> Iterator[float]:
    """Seconds between tries: twice as long each time, up to the longest, less up to a quarter so that many do not meet."""
    pause_s = first_s
    while True:
        yield pause_s * random.uniform(0.75, 1.0)
        pause_s = min(2 * pause_s, longest_s)


@dataclass(frozen=True, slots=True)
class Persistent:
    """Asks again where the answer is that the server, or the engine behind it, cannot serve now."""

    answerer: Answerer
    first_pause_s: float = FIRST_PAUSE_S
    tries: int = TRIES

    async def answer(self, line: RequestLine) -> LineAnswer:
        """The answer to a line; after the last try the refusal itself."""
        waits = pauses(self.first_pause_s)
        for _ in range(self.tries - 1):
            answer = await self.answerer.answer(line)
            if not _passing(answer):
                return answer
            await asyncio.sleep(next(waits))
        return await self.answerer.answer(line)


def _passing(answer: LineAnswer) -> bool:
    error = (answer.body or {}).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return answer.status in PASSING and code not in LASTING


@dataclass(frozen=True, slots=True)
class Refusing:
    """Answers no line."""

    code: str
    message: str

    async def answer(self, line: RequestLine) -> LineAnswer:
        """The refusal."""
        return not_run(line, self.code, self.message)


def answerer_of(service: Service, keyring: Keyring, owner: str) -> Answerer:
    """What answers the batches of a key: under its locks and policies as they are now, and not at all once it is gone.

    Its rate and concurrency (`limits`) are those of requests; lines are bounded by `jobs.concurrency`.
    """
    principal = keyring.principal(owner)
    if principal is None:
        return Refusing("key_not_found", f"the key {owner!r}, which made the batch, does not exist any more")
    if "batch" not in principal.scopes:
        return Refusing("insufficient_scope", f"the key {owner!r}, which made the batch, has lost the scope 'batch'")
    return Persistent(ServiceAnswerer(service, principal))
