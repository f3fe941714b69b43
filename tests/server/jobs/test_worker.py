"""The worker: whatever happens between a batch and its end, every line is answered, and none twice."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.server.jobs.working import (
    BEGIN,
    OWNER,
    Clock,
    Double,
    answered_ids,
    batch_of,
    ids,
    jobs_in,
    line,
    reached,
    ready,
    rows_of,
    text_of,
    working,
)
from tests.waiting import until
from trimtab.server.api.limits import Admission
from trimtab.server.errors import StorageFull
from trimtab.server.jobs.opened import Jobs
from trimtab.server.jobs.records import BatchRecord, LineResult
from trimtab.server.jobs.results import MOST
from trimtab.server.jobs.store import Store
from trimtab.server.jobs.turns import Turns
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.request import RequestLine
from trimtab.server.settings import Limits


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    opened = jobs_in(tmp_path, lease_s=60, concurrency=4, batches=2)
    yield opened
    opened.close()


def lines(count: int, prefix: str = "c") -> str:
    return text_of(line(name) for name in ids(count, prefix))


def once(count: int, prefix: str = "c") -> Counter[str]:
    return Counter(ids(count, prefix))


async def test_answers_and_failures_go_to_files_of_their_own(jobs: Jobs) -> None:
    batch = batch_of(jobs, lines(10), output_expires_after_s=3600)
    async with working(jobs, ready(refused=frozenset({"c3", "c7"}))):
        done = await reached(jobs, batch, "completed")
    assert answered_ids(jobs, done) == once(10) - Counter(["c3", "c7"])
    assert [row["custom_id"] for row in rows_of(jobs, done.error_file_id)] == ["c3", "c7"]
    row = rows_of(jobs, done.output_file_id)[0]
    assert set(row) == {"id", "custom_id", "response", "error"}
    assert (row["response"]["status_code"], row["response"]["body"]["said"], row["error"]) == (200, "c0", None)
    assert rows_of(jobs, done.error_file_id)[0]["response"]["status_code"] == 400
    assert (done.total, done.completed, done.failed, done.model) == (10, 8, 2, "m")
    assert (done.prompt_tokens, done.completion_tokens, done.cached_tokens) == (24, 16, 8)  # 3, 2 and 1 of eight answers
    file = jobs.store.get_file(OWNER, str(done.output_file_id))
    assert (file.purpose, file.filename, file.bytes) == (
        "batch_output",
        "batch_b_output.jsonl",
        jobs.blobs.size(file.id),
    )
    assert file.expires_at == file.created_at + 3600
    assert not jobs.store.answered(batch.id), "rows that are in a file are not kept twice"


FAULTS = {
    "": "empty_file",
    "\n  \n": "empty_file",
    lines(1) + "{nonsense\n": "invalid_json_line",
    lines(1) + "[1]\n": "invalid_json_line",
    text_of([line("")]): "invalid_custom_id",
    text_of([line("x" * 257)]): "invalid_custom_id",
    lines(2) + lines(1): "duplicate_custom_id",
    text_of([line("a", method="GET")]): "invalid_method",
    text_of([line("a", url="/v1/moderations")]): "invalid_url",
    text_of([line("a", url="/v1/embeddings")]): "mismatched_url",
    text_of([line("a", body=1)]): "invalid_body",
    lines(21): "too_many_lines",
    text_of([line("a", body={"text": "x" * 10_000})]): "line_too_large",
}


@pytest.mark.parametrize(("text", "code"), FAULTS.items(), ids=range(len(FAULTS)))
async def test_a_file_with_a_fault_fails_as_a_whole(tmp_path: Path, text: str, code: str) -> None:
    jobs = jobs_in(tmp_path, lines=20)
    batch, answerer = batch_of(jobs, text), ready()
    async with working(jobs, answerer):
        failed = await reached(jobs, batch, "failed")
    assert [fault.code for fault in failed.faults] == [code]
    assert failed.faults[0].line == {"empty_file": None, "too_many_lines": 21}.get(code, len(text.splitlines()))
    assert not answerer.asked
    assert failed.failed_at == BEGIN
    jobs.close()


async def test_at_most_a_hundred_faults_are_told(jobs: Jobs) -> None:
    batch = batch_of(jobs, "{\n" * 300)
    async with working(jobs, ready()):
        failed = await reached(jobs, batch, "failed")
    assert [fault.line for fault in failed.faults] == list(range(1, 101))


async def test_lines_that_name_several_models_name_none_together(jobs: Jobs) -> None:
    batch = batch_of(jobs, lines(2) + text_of([line("other", body={"model": "n", "messages": []})]))
    async with working(jobs, ready()):
        assert (await reached(jobs, batch, "completed")).model is None


async def test_a_model_that_no_database_keeps_is_left_out(jobs: Jobs) -> None:
    batch = batch_of(jobs, text_of([line("a", body={"model": "m\0", "messages": []})]))
    async with working(jobs, ready()):
        assert (await reached(jobs, batch, "completed")).model is None


async def test_an_input_that_has_gone_is_told(jobs: Jobs) -> None:
    batch = batch_of(jobs, lines(2))
    jobs.blobs.delete(batch.input_file_id)
    async with working(jobs, ready()):
        failed = await reached(jobs, batch, "failed")
    assert [(fault.code, fault.param) for fault in failed.faults] == [("file_not_found", "input_file_id")]


async def test_answered_lines_are_not_asked_again(jobs: Jobs) -> None:
    batch = batch_of(jobs, lines(5), status="in_progress", total=5)
    jobs.store.add_results(batch.id, [LineResult(2, True, '{"custom_id": "c1"}'), LineResult(4, True, '{"custom_id": "c3"}')])
    answerer = ready()
    async with working(jobs, answerer):
        done = await reached(jobs, batch, "completed")
    assert sorted(answerer.asked) == ["c0", "c2", "c4"]
    assert answered_ids(jobs, done) == once(5)


class Dying:
    """A store that dies at its nth call: before it, or when it is done. Everything after that fails too."""

    def __init__(self, store: Store, at: int, *, before: bool) -> None:
        self._store = store
        self._left = at
        self._before = before
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and self._before):
                self.dead = True
                raise RuntimeError("dead")
            result = method(*args, **named)
            if self._left == 0:
                self.dead = True
                raise RuntimeError("dead")
            return result

        return call


async def died(jobs: Jobs, dying: Dying, batch: BatchRecord, clock: Clock) -> None:
    """A worker that works until its store dies, or the batch is complete."""
    mortal = Jobs(cast(Store, dying), jobs.blobs, jobs.config)
    async with working(mortal, ready(refused=frozenset({"c2"})), clock=clock):
        await until(lambda: dying.dead or jobs.store.get_batch(OWNER, batch.id).status == "completed")


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_crash_at_any_point_loses_no_line_and_doubles_none(jobs: Jobs, before: bool) -> None:
    """Deaths at the first, second, ... call of the store, until a worker gets through; the next worker finishes the batch."""
    clock = Clock()
    for at in range(1, 40):
        batch = batch_of(jobs, lines(5), name=str(at), expires_at=int(BEGIN) + 10_000)
        dying = Dying(jobs.store, at, before=before)
        await died(jobs, dying, batch, clock)
        clock.now += 61
        async with working(jobs, ready(refused=frozenset({"c2"})), clock=clock):
            done = await reached(jobs, batch, "completed")
        assert answered_ids(jobs, done) == once(5) - Counter(["c2"]), at
        assert [row["custom_id"] for row in rows_of(jobs, done.error_file_id)] == ["c2"], at
        assert (done.completed, done.failed, done.prompt_tokens) == (4, 1, 12), at
        files = jobs.store.list_files(OWNER, limit=1000).items
        assert sum(file.filename.startswith(f"{batch.id}_") for file in files) == 2, at
        if not dying.dead:
            break
    assert at > 8, "claim, check, lines, two moves and the rest each had their death"
    assert not dying.dead, "some worker got through"


async def test_cancelled_lines_are_aborted_and_answers_kept(jobs: Jobs) -> None:
    batch, answerer = batch_of(jobs, lines(20)), Double(at_once=frozenset(ids(6)))
    async with working(jobs, answerer) as worker:
        await until(lambda: answerer.running == 4 and len(jobs.store.answered(batch.id)) == 6)
        assert jobs.store.move(batch.id, frozenset({"in_progress"}), "cancelling", {"cancelling_at": 1})
        worker.notice(batch.id)
        done = await reached(jobs, batch, "cancelled")
        assert answerer.running == 0
    assert answered_ids(jobs, done) == once(6)
    assert (done.total, done.completed, done.failed, done.error_file_id) == (20, 6, 0, None)


async def test_a_batch_that_is_cancelled_while_nobody_works_on_it(jobs: Jobs) -> None:
    batch = batch_of(jobs, lines(3), status="cancelling", total=3)
    jobs.store.add_results(batch.id, [LineResult(1, True, '{"custom_id": "c0"}')])
    answerer = ready()
    async with working(jobs, answerer):
        done = await reached(jobs, batch, "cancelled")
    assert answered_ids(jobs, done) == once(1)
    assert not answerer.asked


async def test_what_is_not_answered_in_time_is_told_as_expired(jobs: Jobs) -> None:
    batch, answerer, clock = batch_of(jobs, lines(10)), Double(at_once=frozenset(["c1"])), Clock()
    async with working(jobs, answerer, clock=clock) as worker:
        await until(lambda: answerer.running == 4 and len(jobs.store.answered(batch.id)) == 1)
        clock.now += 1001
        worker.notice(batch.id)
        done = await reached(jobs, batch, "expired")
        assert answerer.running == 0
    assert (done.total, done.completed, done.failed, done.expired_at) == (10, 1, 9, clock.now)
    assert answered_ids(jobs, done) == Counter(["c1"])
    rows = rows_of(jobs, done.error_file_id)
    assert Counter(row["custom_id"] for row in rows) == once(10) - Counter(["c1"])
    assert {(row["error"]["code"], row["response"]) for row in rows} == {("batch_expired", None)}


async def test_the_end_of_the_time_needs_no_notice(jobs: Jobs) -> None:
    """The worker sleeps until the time is over: 0.05 seconds, of a lease of a minute."""
    batch, answerer = batch_of(jobs, lines(3)), Double()
    clock = Clock(batch.expires_at - 0.05)
    async with working(jobs, answerer, clock=clock):
        await until(lambda: answerer.running == 3)
        clock.now += 0.05
        assert (await reached(jobs, batch, "expired")).failed == 3


async def test_a_batch_whose_time_was_over_before_it_began(jobs: Jobs) -> None:
    batch, answerer = batch_of(jobs, lines(3), expires_at=int(BEGIN) - 1), ready()
    async with working(jobs, answerer):
        assert (await reached(jobs, batch, "expired")).failed == 3
    assert not answerer.asked


async def test_one_batch_has_one_worker(jobs: Jobs) -> None:
    batches = [batch_of(jobs, lines(5, name), name=name) for name in "abcd"]
    first, second = Double(), Double()
    async with working(jobs, first), working(jobs, second):
        await until(lambda: len(first.asked) >= 4 and len(second.asked) >= 4)
        first.open.set()
        second.open.set()
        for batch, name in zip(batches, "abcd", strict=True):
            assert answered_ids(jobs, await reached(jobs, batch, "completed")) == once(5, name)
    assert Counter(first.asked) + Counter(second.asked) == sum((once(5, name) for name in "abcd"), Counter())


async def test_a_worker_whose_lease_is_lost_stops(jobs: Jobs) -> None:
    batch, answerer, clock = batch_of(jobs, lines(5)), Double(), Clock()
    async with working(jobs, answerer, clock=clock) as worker:
        await until(lambda: answerer.running == 4)
        assert jobs.store.claim("other", clock.now + 61, 60) is not None
        worker.notice(batch.id)
        await until(lambda: answerer.running == 0 and not worker.working())
        answerer.open.set()
        assert jobs.store.renew(batch.id, "other", clock.now, 60), "it is still the other's"
        assert not jobs.store.answered(batch.id)


async def test_batches_share_the_places(jobs: Jobs) -> None:
    for name in "ab":
        batch_of(jobs, lines(40, name), name=name)
    answerer = Double()
    async with working(jobs, answerer) as worker:
        await until(lambda: dict(worker.working()) == {"in_progress": 2} and answerer.running == 4)
        assert len(answerer.asked) == 4


async def test_who_asks_in_turn_is_served_in_turn() -> None:
    """One place, two batches that each ask again as soon as they were served: strictly in turn."""
    turns, order = Turns(1, Admission(Limits()).calm), list[str]()

    async def ask(name: str) -> None:
        for _ in range(5):
            await turns.enter()
            order.append(name)
            asyncio.get_running_loop().call_soon(turns.leave)

    await turns.enter()
    asking = asyncio.gather(ask("a"), ask("b"))
    await asyncio.sleep(0)
    turns.leave()
    await asking
    assert order == ["a", "b"] * 5


async def test_no_more_batches_than_configured(jobs: Jobs) -> None:
    for name in "abc":
        batch_of(jobs, lines(1, name), name=name)
    answerer = Double()
    async with working(jobs, answerer) as worker:
        await until(lambda: answerer.running == 2)
        assert dict(worker.working()) == {"in_progress": 2}
        assert sorted(answerer.asked) == ["a0", "b0"], "who came first"
        answerer.open.set()
        await until(lambda: len(answerer.asked) == 3)


async def test_no_line_begins_while_a_client_waits(jobs: Jobs) -> None:
    admission = Admission(Limits(concurrency=1))
    admission.open()
    await admission.enter()
    waiting = asyncio.create_task(admission.enter())
    await until(lambda: admission.waiting == 1)
    batch, answerer = batch_of(jobs, lines(3)), ready()
    async with working(jobs, answerer, admission=admission):
        await reached(jobs, batch, "in_progress")
        await asyncio.sleep(0)
        assert not answerer.asked
        admission.leave()
        await waiting
        await reached(jobs, batch, "completed")


class Full(Dying):
    """A store whose disk is full for the first two writes of rows, of states and of files each."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, 0, before=True)
        self.refused: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **named: Any) -> Any:
            if name in {"add_results", "move", "results"} and self.refused[name] < 2:
                self.refused[name] += 1
                raise StorageFull("full")
            return method(*args, **named)

        return call


async def test_a_full_disk_is_waited_out(jobs: Jobs) -> None:
    batch, full = batch_of(jobs, lines(5)), Full(jobs.store)
    answerer = ready()
    async with working(Jobs(cast(Store, full), jobs.blobs, jobs.config), answerer, first_pause_s=0.001):
        done = await reached(jobs, batch, "completed")
    assert answered_ids(jobs, done) == once(5)
    assert full.refused.total() == 6
    assert len(answerer.asked) == 5, "what was answered was not asked again"


async def test_a_worker_that_is_stopped_keeps_answers_and_leaves_the_rest_to_others(jobs: Jobs) -> None:
    batch, answerer = batch_of(jobs, lines(20)), Double(at_once=frozenset(ids(6)))
    async with working(jobs, answerer):
        await until(lambda: answerer.running == 4)
    assert answerer.running == 0
    left = jobs.store.get_batch(OWNER, batch.id)
    assert (left.status, left.completed, left.failed) == ("in_progress", 6, 0)
    other = ready()
    async with working(jobs, other):
        done = await reached(jobs, batch, "completed")
    assert answered_ids(jobs, done) == once(20)
    assert sorted(other.asked) == sorted(ids(20)[6:])


class Claiming(Dying):
    """A store whose claims tell when they begin and wait for leave."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, 0, before=True)
        self.begun, self.leave = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def claim(*args: Any) -> Any:
            self.begun.set()
            assert self.leave.wait(10)
            return method(*args)

        return claim if name == "claim" else method


async def test_a_batch_that_is_claimed_while_the_server_ends_is_given_back(jobs: Jobs) -> None:
    batch, slow = batch_of(jobs, lines(1)), Claiming(jobs.store)
    stopping = working(Jobs(cast(Store, slow), jobs.blobs, jobs.config), ready())
    await stopping.__aenter__()
    await until(slow.begun.is_set)
    ending = asyncio.create_task(stopping.__aexit__(None, None, None))
    await asyncio.sleep(0)
    slow.leave.set()
    await ending
    claimed = jobs.store.claim("other", BEGIN, 60)
    assert claimed is not None
    assert claimed.id == batch.id


class Claims(Dying):
    """A store that remembers which batches were claimed."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, 0, before=True)
        self.claimed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def claim(*args: Any) -> Any:
            record = method(*args)
            self.claimed += [record.id] if record else []
            return record

        return claim if name == "claim" else method


async def test_a_clock_that_jumps_makes_no_second_run(jobs: Jobs) -> None:
    """A machine that slept: the worker finds its own lease over, and takes the batch as what it has already."""
    batch, answerer, clock, claims = batch_of(jobs, lines(4)), Double(), Clock(), Claims(jobs.store)
    async with working(Jobs(cast(Store, claims), jobs.blobs, jobs.config), answerer, clock=clock) as worker:
        await until(lambda: answerer.running == 4)
        clock.now += 61
        worker.wake()
        await until(lambda: claims.claimed == [batch.id] * 2)
        answerer.open.set()
        await until(lambda: bool(worker.working()) is False)
    assert jobs.store.get_batch(OWNER, batch.id).status == "completed"
    assert len(answerer.asked) == 4


class Counting(Dying):
    """A store that tells how many results it was given."""

    stored = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != "add_results":
            return method

        def call(id: str, results: list[LineResult]) -> None:
            method(id, results)
            self.stored += len(results)

        return call


@pytest.mark.parametrize("count", [5_000, pytest.param(50_000, marks=pytest.mark.slow)])
async def test_lines_in_memory_do_not_grow_with_the_file(tmp_path: Path, count: int) -> None:
    """Lines that were begun and are not stored: one a place, and one more than the results that may wait."""
    jobs = jobs_in(tmp_path, concurrency=8)
    batch = batch_of(jobs, lines(count))
    counting = Counting(jobs.store, 0, before=True)
    most = begun = 0
    last = asyncio.Event()

    class AtOnce:
        async def answer(self, line: RequestLine) -> LineAnswer:
            nonlocal begun, most
            begun += 1
            most = max(most, begun - counting.stored)
            if begun == count:
                last.set()
            return LineAnswer(line.number, line.custom_id, 200, {})

    async with working(Jobs(cast(Store, counting), jobs.blobs, jobs.config), AtOnce()) as worker:
        await last.wait()
        await until(lambda: not worker.working())
    done = jobs.store.get_batch(OWNER, batch.id)
    assert (done.status, done.total, done.completed) == ("completed", count, count)
    assert most <= MOST + 8 + 1
    with jobs.blobs.open(str(done.output_file_id)) as file:
        assert {json.loads(row)["custom_id"] for row in file} == set(ids(count))
    jobs.close()
