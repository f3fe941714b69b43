"""Workers over a real store in a folder, with answers that tests hold back, refuse or count."""

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.waiting import until
from trimtab.server.api.limits import Admission
from trimtab.server.api.metrics import Metrics
from trimtab.server.jobs.means import Means
from trimtab.server.jobs.measures import JobMetrics
from trimtab.server.jobs.opened import Jobs, open_jobs
from trimtab.server.jobs.records import BatchRecord, BatchStatus
from trimtab.server.jobs.threads import Threads
from trimtab.server.jobs.turns import Turns
from trimtab.server.jobs.worker import Worker, worker_name
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.answering import Answerer
from trimtab.server.lines.request import RequestLine
from trimtab.server.settings import JobsConfig, Limits

BEGIN = 1_000_000.0
OWNER = "app"


@dataclass
class Clock:
    """Unix time that only tests move."""

    now: float = BEGIN

    def __call__(self) -> float:
        return self.now


@dataclass
class Double:
    """Answers with the line's own id once `open` is set; 3 prompt tokens, 2 completion tokens, 1 of the prompt cached."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: frozenset[str] = frozenset()
    """Ids that are answered without waiting for it."""
    refused: frozenset[str] = frozenset()
    """Ids whose answer is a 400."""
    asked: list[str] = field(default_factory=list)
    running: int = 0

    async def answer(self, line: RequestLine) -> LineAnswer:
        self.asked.append(line.custom_id)
        self.running += 1
        try:
            if line.custom_id not in self.at_once:
                await self.open.wait()
        finally:
            self.running -= 1
        if line.custom_id in self.refused:
            return LineAnswer(line.number, line.custom_id, 400, {"error": {"code": "invalid_value", "message": "no"}})
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
        return LineAnswer(line.number, line.custom_id, 200, {"said": line.custom_id, "usage": usage})


def ready(**fields: Any) -> Double:
    """One that answers at once."""
    double = Double(**fields)
    double.open.set()
    return double


def jobs_in(folder: Path, **config: Any) -> Jobs:
    """Files and batches below a folder."""
    return open_jobs(JobsConfig.model_validate(config), folder)


def line(custom_id: str, **other: Any) -> dict[str, Any]:
    """A line that is a request."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **other}


def ids(count: int, prefix: str = "c") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def text_of(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def batch_of(jobs: Jobs, text: str, *, name: str = "b", owner: str = OWNER, **fields: Any) -> BatchRecord:
    """A new batch over a file of this text."""
    source = text.encode()
    file = jobs.new_file(owner, "input.jsonl", "batch", len(source))
    jobs.add_file(file, io.BytesIO(source))
    given = {"created_at": int(BEGIN), "expires_at": int(BEGIN) + 1000, **fields}
    record = BatchRecord(f"batch_{name}", owner, "/v1/chat/completions", file.id, **given)
    jobs.store.add_batch(record)
    return record


@asynccontextmanager
async def working(
    jobs: Jobs,
    answerer: Answerer,
    *,
    clock: Callable[[], float] | None = None,
    admission: Admission | None = None,
    first_pause_s: float = 0.01,
) -> AsyncIterator[Worker]:
    """A worker at work; at the end it is stopped in good order."""
    calm = (admission or Admission(Limits())).calm
    means = Means(
        worker=worker_name(),
        jobs=jobs,
        threads=Threads(8),
        turns=Turns(jobs.config.concurrency or 64, calm),
        answerer_of=lambda owner: answerer,
        metrics=JobMetrics(Metrics(), dict),
        line_bytes=10_000,
        clock=clock or Clock(),
        first_pause_s=first_pause_s,
    )
    worker = Worker(means)
    task = asyncio.create_task(worker.work())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()


async def reached(jobs: Jobs, batch: BatchRecord, *statuses: BatchStatus) -> BatchRecord:
    """The batch once it is in one of the states."""
    await until(lambda: jobs.store.get_batch(batch.owner, batch.id).status in statuses)
    return jobs.store.get_batch(batch.owner, batch.id)


def rows_of(jobs: Jobs, file_id: str | None) -> list[dict[str, Any]]:
    """The rows of an output file; none of one that there is not."""
    if file_id is None:
        return []
    with jobs.blobs.open(file_id) as file:
        return [json.loads(row) for row in file]


def answered_ids(jobs: Jobs, batch: BatchRecord) -> Counter[str]:
    """How often each id is in the output."""
    return Counter(row["custom_id"] for row in rows_of(jobs, batch.output_file_id))
