"""A file of lines answered to its end: so many at once, each row written when it is there, whatever answers.

Holds the lines that are in work and no others.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from trimtab.server.engines.upstream.retry import wait_s
from trimtab.server.lines.answer import LineAnswer, refused
from trimtab.server.lines.answering import Answerer
from trimtab.server.lines.errors import Outage
from trimtab.server.lines.request import BadLine, RequestLine, read_lines
from trimtab.server.lines.rows import Rows
from trimtab.server.lines.shards import Shard

OUTAGE_LINES = 100
"""So many lines in a row without an engine or server are an outage."""
PATIENCE_S = 300.0
"""How long a line waits for an engine that is started again, or has too much work."""

Write = Callable[[LineAnswer], None]
"""Takes in an answer; blocks for a moment."""


class Place(Protocol):
    """Where lines are answered; can be sent to another process."""

    @property
    def concurrency(self) -> int:
        """Requests in work at once that keep it busy."""
        ...

    def open(self) -> AbstractAsyncContextManager[Answerer]:
        """What answers lines inside the block. Raises what keeps it from being opened."""
        ...


def missing_lines(path: Path, shard: Shard, rows: Rows) -> Iterator[RequestLine | BadLine]:
    """The lines of the shard that no row settles, in order. A custom_id counts over the lines of all shards."""
    with path.open("rb") as file:
        for line in read_lines(file):
            if shard.holds(line.number) and not _is_settled(line, rows):
                yield line


def _is_settled(line: RequestLine | BadLine, rows: Rows) -> bool:
    return line.custom_id in rows.ids if isinstance(line, RequestLine) else line.number in rows.numbers


async def answer_lines(lines: Iterable[RequestLine | BadLine], answerer: Answerer, write: Write, *, concurrency: int) -> None:
    """Every line answered and its answer written, in the order of completion.

    concurrency: requests in work at once; no line is read before its turn.
    Raises Outage, and what `write` raises; what is in work then is given up.
    """
    waiting = iter(lines)
    watch = OutageWatch()

    async def work() -> None:
        for line in waiting:
            answer = refused(line) if isinstance(line, BadLine) else await answerer.answer(line)
            write(answer)
            watch.see(answer)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


@dataclass(slots=True)
class OutageWatch:
    """Ends a run whose lines all meet nobody, before it has burnt through the file."""

    in_a_row: int = 0

    def see(self, answer: LineAnswer) -> None:
        """Note what became of a line. Raises Outage."""
        away = answer.status in {429, 502, 503} or (not answer.status and "line" not in (answer.error or {}))
        self.in_a_row = self.in_a_row + 1 if away else 0
        if self.in_a_row >= OUTAGE_LINES:
            raise Outage(f"stopped: {self.in_a_row} lines in a row were not answered, the last with {_reason(answer)}")


def _reason(answer: LineAnswer) -> str:
    error = answer.error or (answer.body or {}).get("error") or {}
    return f"{answer.status or error.get('code')}: {error.get('message')}"


@dataclass(frozen=True, slots=True)
class PatientAnswerer:
    """Asks again where an engine in this process is being started again or has too much work."""

    inner: Answerer
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def answer(self, line: RequestLine) -> LineAnswer:
        """The answer to a line, within `PATIENCE_S` of waiting."""
        begin, waited, attempt = time.monotonic(), 0.0, 0
        while True:
            attempt += 1
            answer = await self.inner.answer(line)
            pause = wait_s(attempt, {}, _RNG) or 0.0
            if not _is_busy(answer) or waited + pause > PATIENCE_S:
                return answer if attempt == 1 else replace(answer, ms=(time.monotonic() - begin) * 1000)
            await self.wait(pause)
            waited += pause


_RNG = random.Random()


def _is_busy(answer: LineAnswer) -> bool:
    """Whether it helps to wait; a spent budget stays spent."""
    code = ((answer.body or {}).get("error") or {}).get("code")
    return answer.status == 503 or (answer.status == 429 and code != "insufficient_quota")
