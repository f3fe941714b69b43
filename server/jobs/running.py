"""One batch in the hands of a worker: from the state in which it was claimed to its end, or until the worker must stop.

Every step is a state that is on disk. Whoever claims the batch after a crash goes on from there: lines that have a result are
not asked again, and rows become files only once all of them are there.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from trimtab.server.errors import NotFound
from trimtab.server.jobs.finishing import Overtaken, write_output
from trimtab.server.jobs.means import NOT_NOW, Means
from trimtab.server.jobs.records import ENDED, WORKED, BatchRecord, BatchStatus, FileRecord, LineFault, LineResult
from trimtab.server.jobs.results import Results, result_of
from trimtab.server.jobs.validating import Checked, Remaining, check
from trimtab.server.lines.answer import LineAnswer, not_run, refused
from trimtab.server.lines.answering import Answerer
from trimtab.server.lines.request import BadLine, RequestLine

logger = logging.getLogger(__name__)

Reason = Literal["stopping", "cancelling", "expired"]
"""Why no line of a batch is begun any more."""
BEATS = 3
"""Renewals of a lease within its time."""
UNTIMELY = "the time of the batch was over before this line was answered"


class LeaseLost(Exception):
    """The batch may be another worker's by now."""


class Run:
    """The work on one batch."""

    def __init__(self, means: Means, record: BatchRecord) -> None:
        self._means = means
        self.record = record
        self._reason: Reason | None = None
        self._ending = asyncio.Event()
        self._noticed = asyncio.Event()
        self._renewed_at = means.clock()
        self._results = Results(self._keep)

    def notice(self) -> None:
        """Look at the stored state now: it was changed, or the clock was."""
        self._noticed.set()

    def stop(self) -> None:
        """End in good order: lines in work are aborted, what was answered is kept."""
        self._end("stopping")

    async def work(self) -> None:
        """Bring the batch to its end, or to where `stop` found it. Raises LeaseLost (in a group) where it is no longer ours."""
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._beat())
            while self.record.status in WORKED and self._reason != "stopping":
                await self._step()
            beating.cancel()

    async def _step(self) -> None:
        match self.record.status:
            case "validating":
                await self._validate()
            case "in_progress":
                await self._answer_lines()
            case "finalizing":
                await self._finish("completed")
            case _:
                await self._finish("cancelled")

    async def _validate(self) -> None:
        """Check the whole file; a batch begins only where every line is a request."""
        try:
            checked = await self._means.kept(self._check)
        except NotFound:
            return await self._move("failed", {"faults": (_no_input(self.record),)})
        if checked.faults:
            return await self._move("failed", {"faults": checked.faults})
        return await self._move("in_progress", {"total": checked.total, "model": checked.model})

    def _check(self) -> Checked:
        means, record = self._means, self.record
        with means.jobs.blobs.open(record.input_file_id) as file:
            return check(file, endpoint=record.endpoint, most=means.jobs.config.lines, line_bytes=means.line_bytes)

    async def _answer_lines(self) -> None:
        """Answer what has no answer yet; then on to the output."""
        self._watch_time()
        try:
            remaining = await self._means.kept(self._remaining)
        except NotFound:
            return await self._finish("failed", faults=(_no_input(self.record),))
        try:
            if await self._all_answered(remaining):
                return await self._move("finalizing", {})
        finally:
            remaining.close()
        if self._reason == "cancelling":
            return await self._look()
        return await self._expire() if self._reason == "expired" else None

    def _remaining(self) -> Remaining:
        jobs, record = self._means.jobs, self.record
        file = jobs.blobs.open(record.input_file_id)
        try:
            return Remaining(file, endpoint=record.endpoint, answered=jobs.store.answered(record.id))
        except BaseException:
            file.close()
            raise

    async def _all_answered(self, remaining: Remaining) -> bool:
        """Whether every line was answered, or the lines were ended before that; either way all answers are stored."""
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._results.run())
            asking = group.create_task(self._ask(remaining))
            ending = group.create_task(self._ending.wait())
            await asyncio.wait({asking, ending}, return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            asking.cancel()
            await asyncio.wait({asking})
            await self._results.kept()
            keeping.cancel()
        return not asking.cancelled()

    async def _ask(self, remaining: Remaining) -> None:
        """Ask for every line, each as soon as there is a turn for it."""
        answerer = self._means.answerer_of(self.record.owner)
        turns = self._means.turns
        async with asyncio.TaskGroup() as group:
            while lines := await self._means.threads.run(remaining.portion):
                for line in lines:
                    await self._results.room()
                    await turns.enter()
                    asked = group.create_task(self._answer(line, answerer))
                    asked.add_done_callback(lambda _: turns.leave())

    async def _answer(self, line: RequestLine | BadLine, answerer: Answerer) -> None:
        answer = refused(line) if isinstance(line, BadLine) else await answerer.answer(line)
        self._take(answer)

    def _take(self, answer: LineAnswer) -> None:
        self._means.metrics.answered(answer)
        self._results.add(result_of(answer))

    async def _keep(self, results: Sequence[LineResult]) -> None:
        means = self._means
        overdue_s = means.clock() - self._renewed_at - means.jobs.config.lease_s
        if overdue_s >= 0:  # this process, or the machine, was stopped for a while
            await self._renew()
        await means.kept(means.jobs.store.add_results, self.record.id, results)

    async def _expire(self) -> None:
        """The lines that were not answered in time become errors that say so, and the batch ends."""
        remaining = await self._means.kept(self._remaining)
        try:
            while lines := await self._means.threads.run(remaining.portion):
                answers = [refused(line) if isinstance(line, BadLine) else _untimely(line) for line in lines]
                await self._keep([result_of(answer) for answer in answers])
        finally:
            remaining.close()
        await self._finish("expired")

    async def _finish(self, status: BatchStatus, *, faults: tuple[LineFault, ...] = ()) -> None:
        """Rows become files, and with them the batch reaches its end."""
        means = self._means
        try:
            output, errors = await means.kept(write_output, means.jobs, self.record)
        except Overtaken:
            return await self._look()
        changes = {
            "output_file_id": output.id if output else None,
            "error_file_id": errors.id if errors else None,
            **({"faults": faults} if faults else {}),
        }
        return await self._move(status, changes, [file for file in (output, errors) if file is not None])

    async def _move(self, status: BatchStatus, changes: Mapping[str, object], files: Sequence[FileRecord] = ()) -> None:
        """The next state; where somebody else was faster, the state the batch is in."""
        means, store, origin = self._means, self._means.jobs.store, frozenset({self.record.status})
        stamped = {**changes, f"{status}_at": int(means.clock())}
        moved = await means.kept(store.move, self.record.id, origin, status, stamped, files)
        if moved is None:
            return await self._look()
        self.record = moved
        if status in ENDED:
            means.metrics.ended(status)
            logger.info("the batch %s is %s: %d of %d lines answered", moved.id, status, moved.completed, moved.total)
        return None

    async def _look(self) -> None:
        """The state in the store."""
        means = self._means
        self.record = await means.kept(means.jobs.store.get_batch, self.record.owner, self.record.id)

    def _end(self, reason: Reason) -> None:
        """Begin no further line and abort those in work; the first reason counts, but for the end of the server."""
        if self._reason is None or reason == "stopping":
            self._reason = reason
        self._ending.set()

    async def _beat(self) -> None:
        """Keep the lease, see a cancellation and the end of the time. Raises LeaseLost."""
        while True:
            await self._pause()
            await self._renew()
            self._watch_time()

    def _watch_time(self) -> None:
        if self.record.status == "in_progress" and self._means.clock() >= self.record.expires_at:
            self._end("expired")

    async def _pause(self) -> None:
        """Until the lease should be renewed, the time is over, or somebody says that something happened."""
        means = self._means
        pause_s, left_s = means.jobs.config.lease_s / BEATS, self.record.expires_at - means.clock()
        try:
            async with asyncio.timeout(min(pause_s, left_s) if left_s > 0 else pause_s):
                await self._noticed.wait()
        except TimeoutError:
            return
        self._noticed.clear()

    async def _renew(self) -> None:
        """Renew the lease and see whether the batch is being cancelled. Raises LeaseLost."""
        means, record = self._means, self.record
        store, now, lease_s = means.jobs.store, means.clock(), means.jobs.config.lease_s
        try:
            if not await means.threads.run(store.renew, record.id, means.worker, now, lease_s):
                raise LeaseLost(record.id)
            self._renewed_at = now
            stored = await means.threads.run(store.get_batch, record.owner, record.id)
        except NOT_NOW as error:
            if now - self._renewed_at >= lease_s:
                raise LeaseLost(record.id) from error
            return
        if stored.status in {"cancelling", "cancelled"}:
            self._end("cancelling")


def _untimely(line: RequestLine) -> LineAnswer:
    return not_run(line, "batch_expired", UNTIMELY)


def _no_input(record: BatchRecord) -> LineFault:
    message = f"the file {record.input_file_id} is not there any more"
    return LineFault("file_not_found", message, param="input_file_id")
