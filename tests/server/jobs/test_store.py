"""The store, on SQLite and on PostgreSQL: the same suite."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.jobs.postgres import PostgresServer, postgres_server
from tests.server.jobs.records import OWNER, a_batch, a_file
from trimtab.server.errors import BodyTooLarge, Conflict, NotFound
from trimtab.server.jobs.pages import Order, Page
from trimtab.server.jobs.records import ENDED, WORKED, BatchRecord, FileRecord, LineFault, LineResult
from trimtab.server.jobs.store import RESULTS_AT_ONCE, Store
from trimtab.server.wire import new_id

T = TypeVar("T")
Opener = Callable[[], Store]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens one database again and again."""
    url = None if request.param == "sqlite" else request.getfixturevalue("server").fresh()
    opened: list[Store] = []

    def open_store() -> Store:
        opened.append(Store.open(url, tmp_path))
        return opened[-1]

    yield open_store
    for one in opened:
        one.close()


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener()


def at_once(works: list[Callable[[], T]]) -> list[T]:
    """The results of work that begins in as many threads at one moment."""
    barrier = threading.Barrier(len(works))

    def begin(work: Callable[[], T]) -> T:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


def with_file(store: Store, **fields: Any) -> FileRecord:
    store.add_file(file := a_file(**fields))
    return file


def with_batch(store: Store, **fields: Any) -> BatchRecord:
    store.add_batch(batch := a_batch(with_file(store), **fields))
    return batch


def line(number: int, *, ok: bool = True, row: str = "{}") -> LineResult:
    return LineResult(number, ok, row, prompt_tokens=3, completion_tokens=5, cached_tokens=1)


def not_found(work: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(NotFound) as raised:
        work()
    return raised.value.code, raised.value.param


def test_what_is_kept_is_there_after_a_restart(opener: Opener) -> None:
    first = opener()
    file = with_file(first, filename='a "name" ☃.jsonl', expires_at=5_000, bytes=2**33)
    batch = a_batch(
        file,
        metadata={"team": "ü"},
        model="m",
        faults=(LineFault("invalid_json", "not JSON", 3), LineFault("empty", "no line")),
        total=2**31 - 1,
        output_expires_after_s=3600,
        output_file_id="file-out",
        error_file_id="file-err",
        **{name: at for at, name in enumerate(moments(), 1)},
    )
    first.add_batch(batch)
    first.add_results(batch.id, [line(1, row='{"text": "ü\\u0000 \\ud800"}')])
    first.close()
    second = opener()
    assert second.get_file(OWNER, file.id) == file
    kept = second.get_batch(OWNER, batch.id)
    assert kept == replace(batch, completed=1, prompt_tokens=3, completion_tokens=5, cached_tokens=1)
    assert list(second.results(batch.id, ok=True)) == [line(1, row='{"text": "ü\\u0000 \\ud800"}')]


def moments() -> list[str]:
    return [
        name for name in BatchRecord.__dataclass_fields__ if name.endswith("_at") and name not in {"created_at", "expires_at"}
    ]


def test_another_owners_objects_are_not_there(store: Store) -> None:
    batch = with_batch(store)
    file = batch.input_file_id
    assert not_found(lambda: store.get_file("other", file)) == ("file_not_found", "file_id")
    assert not_found(lambda: store.delete_file("other", file)) == ("file_not_found", "file_id")
    assert not_found(lambda: store.get_batch("other", batch.id)) == ("batch_not_found", "batch_id")
    assert store.list_files("other", limit=5) == Page((), False)
    assert store.list_batches("other", limit=5) == Page((), False)
    assert not_found(lambda: store.list_files("other", limit=5, after=file))[1] == "after"
    assert store.get_file(OWNER, file).id == file


@pytest.mark.parametrize("id", ["", "file-0", "x" * 5000, "a\x00b", "\ud800", "é", "' OR 1=1 --"])
def test_an_id_may_be_anything(store: Store, id: str) -> None:
    assert not_found(lambda: store.get_file(OWNER, id)) == ("file_not_found", "file_id")
    assert not_found(lambda: store.get_batch(OWNER, id)) == ("batch_not_found", "batch_id")
    assert not_found(lambda: store.list_batches(OWNER, limit=1, after=id)) == ("not_found", "after")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["batch", "batch_output"]), max_size=9), st.integers(1, 4), st.sampled_from(["asc", "desc"]))
def test_pages_list_everything_once_in_the_order_it_was_made(
    store: Store, purposes: list[Any], limit: int, order: Order
) -> None:
    owner = new_id("owner")
    made = [with_file(store, owner=owner, purpose=purpose, created_at=7) for purpose in purposes]
    wanted = made if order == "asc" else made[::-1]
    outputs = [file for file in wanted if file.purpose == "batch_output"]
    assert walk(lambda after: store.list_files(owner, after=after, limit=limit, order=order), limit) == wanted
    assert (
        walk(lambda after: store.list_files(owner, after=after, limit=limit, order=order, purpose="batch_output"), limit)
        == outputs
    )


def walk(page: Callable[[str | None], Page[FileRecord]], limit: int) -> list[FileRecord]:
    """All that a list says, page by page; a page but the last one is full."""
    seen: list[FileRecord] = []
    while True:
        found = page(seen[-1].id if seen else None)
        seen += found.items
        assert len(found.items) == limit if found.has_more else len(found.items) <= limit
        if not found.has_more:
            return seen


def test_batches_are_listed_from_the_newest(store: Store) -> None:
    made = [with_batch(store) for _ in range(3)]
    first = store.list_batches(OWNER, limit=2)
    assert (first.items, first.has_more) == ((made[2], made[1]), True)
    assert store.list_batches(OWNER, limit=2, after=made[1].id) == Page((made[0],), False)


def test_a_quota_holds_for_uploads_at_once(opener: Opener) -> None:
    """Each file has 10 bytes: of eight that come together five go into 50, and another key has a quota of its own."""
    stores = [opener(), opener()]

    def add(store: Store) -> bool:
        try:
            store.add_file(a_file(), quota=50)
        except BodyTooLarge:
            return False
        return True

    assert sum(at_once([lambda store=stores[at % 2]: add(store) for at in range(8)])) == 5  # type: ignore[misc]
    stores[0].add_file(a_file("other"), quota=50)
    store = stores[0]
    store.delete_file(OWNER, store.list_files(OWNER, limit=1).items[0].id)
    assert add(store)
    with pytest.raises(BodyTooLarge) as raised:
        store.add_file(a_file(), quota=50)
    assert raised.value.code == "storage_quota_exceeded"


@pytest.mark.parametrize("status", sorted(WORKED | ENDED))
def test_a_file_stays_as_long_as_its_batch_works(store: Store, status: Any) -> None:
    batch = with_batch(store, status=status)
    store.get_file(OWNER, batch.input_file_id)
    if status in ENDED:
        store.delete_file(OWNER, batch.input_file_id)
        assert not_found(lambda: store.get_file(OWNER, batch.input_file_id))[0] == "file_not_found"
        return
    with pytest.raises(Conflict, match=batch.id) as raised:
        store.delete_file(OWNER, batch.input_file_id)
    assert raised.value.code == "file_in_use"
    assert store.get_file(OWNER, batch.input_file_id)


def test_a_batch_needs_a_file_of_its_owner(store: Store) -> None:
    file = with_file(store)
    wanted = ("file_not_found", "input_file_id")
    assert not_found(lambda: store.add_batch(a_batch(file, owner="other"))) == wanted
    store.delete_file(OWNER, file.id)
    assert not_found(lambda: store.add_batch(a_batch(file))) == wanted
    assert store.list_batches(OWNER, limit=5).items == ()


def test_a_file_is_deleted_or_gets_a_batch_but_not_both(opener: Opener) -> None:
    stores = [opener(), opener()]
    for _ in range(10):
        file = with_file(stores[0])

        def delete(file: FileRecord = file) -> bool:
            try:
                stores[0].delete_file(OWNER, file.id)
            except Conflict:
                return False
            return True

        def begin(file: FileRecord = file) -> bool:
            try:
                stores[1].add_batch(a_batch(file))
            except NotFound:
                return False
            return True

        assert sorted(at_once([delete, begin])) == [False, True]


def test_files_over_age(store: Store) -> None:
    with_file(store, expires_at=None)
    with_file(store, expires_at=101)
    old = with_file(store, expires_at=100, owner="other")
    oldest = with_file(store, expires_at=99)
    in_use = with_file(store, expires_at=50)
    store.add_batch(batch := a_batch(in_use))
    assert store.expired_files(100.9) == [oldest, old]
    assert store.move(batch.id, WORKED, "completed", {})
    assert store.expired_files(100.9) == [in_use, oldest, old]


def test_known_files(store: Store) -> None:
    file = with_file(store, owner="other")
    assert store.known_files(["file-x", file.id]) == {file.id}
    assert store.known_files([]) == set()


def test_a_move_compares_and_sets(store: Store) -> None:
    batch = with_batch(store)
    moved = store.move(batch.id, frozenset({"validating"}), "in_progress", {"total": 7, "in_progress_at": 1_005})
    assert moved == replace(batch, status="in_progress", total=7, in_progress_at=1_005) == store.get_batch(OWNER, batch.id)
    assert store.move(batch.id, frozenset({"validating"}), "failed", {"total": 0}) is None
    assert store.move("batch_none", frozenset({"validating"}), "failed", {}) is None
    assert store.get_batch(OWNER, batch.id) == moved
    faults = (LineFault("empty", "no line"),)
    assert store.move(batch.id, WORKED, "in_progress", {"faults": faults, "metadata": {"a": "b"}})
    assert store.get_batch(OWNER, batch.id) == replace(moved, faults=faults, metadata={"a": "b"})


def test_of_moves_at_once_one_succeeds(opener: Opener) -> None:
    stores = [opener(), opener()]
    batch = with_batch(stores[0])
    moves = [lambda store=store: store.move(batch.id, frozenset({"validating"}), "cancelling", {}) for store in stores * 4]
    assert sum(moved is not None for moved in at_once(moves)) == 1  # type: ignore[misc]


@pytest.mark.parametrize("field", ["status", "id", "owner", "worker", "leased_until", "colour"])
def test_a_move_sets_fields_of_a_batch_alone(store: Store, field: str) -> None:
    batch = with_batch(store)
    with pytest.raises(ValueError, match=field):
        store.move(batch.id, WORKED, "failed", {field: "x"})
    assert store.get_batch(OWNER, batch.id) == batch


def test_a_move_makes_its_files_or_does_not_happen(store: Store) -> None:
    batch = with_batch(store)
    output, taken = a_file(purpose="batch_output"), with_file(store)
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.move(batch.id, WORKED, "completed", {"output_file_id": output.id}, [output, taken])
    assert store.get_batch(OWNER, batch.id) == batch
    assert not_found(lambda: store.get_file(OWNER, output.id))
    store.move(batch.id, WORKED, "completed", {"output_file_id": output.id}, [output])
    assert store.get_file(OWNER, output.id) == output
    assert store.move(batch.id, WORKED, "failed", {}, [a_file(id="file-late")]) is None
    assert not_found(lambda: store.get_file(OWNER, "file-late"))


def test_a_batch_belongs_to_one_worker_until_its_lease_is_over(store: Store) -> None:
    older, newer = with_batch(store), with_batch(store)
    with_batch(store, status="completed")
    assert store.claim("a", 100.0, 30.0) == older
    assert store.claim("b", 101.0, 30.0) == newer
    assert store.claim("c", 129.5, 30.0) is None
    assert store.renew(older.id, "a", 129.5, 30.0)
    assert not store.renew(older.id, "b", 129.5, 30.0)
    assert store.claim("c", 131.0, 30.0) == newer
    assert not store.renew(newer.id, "b", 131.5, 30.0)
    store.release(newer.id, "b")
    assert store.claim("d", 132.0, 30.0) is None
    store.release(newer.id, "c")
    assert store.claim("d", 132.0, 30.0) == newer
    assert store.claim("c", 159.4, 30.0) is None
    assert store.claim("c", 159.5, 30.0) == older


def test_workers_at_once_claim_each_batch_once(opener: Opener) -> None:
    stores = [opener(), opener()]
    batches = {with_batch(stores[0]).id for _ in range(24)}

    def claimed(store: Store, worker: str) -> list[str]:
        mine = []
        while (batch := store.claim(worker, 1.0, 60.0)) is not None:
            mine.append(batch.id)
        return mine

    works = [lambda at=at: claimed(stores[at % 2], f"worker-{at}") for at in range(6)]
    every = [claim for mine in at_once(works) for claim in mine]  # type: ignore[misc]
    assert len(every) == 24
    assert set(every) == batches


def test_adding_results_twice_is_adding_them_once(store: Store) -> None:
    """Lines 1 to 3, one of them bad, cost 3 * (3, 5, 1) tokens; line 4 is all that the second call adds."""
    batch = with_batch(store)
    first = [line(2, ok=False), line(1), line(3, row="first")]
    store.add_results(batch.id, first)
    store.add_results(batch.id, [line(3, row="second"), line(4), line(4, row="again"), line(2)])
    store.add_results(batch.id, first)
    store.add_results(batch.id, [])
    counted = {"completed": 3, "failed": 1, "prompt_tokens": 12, "completion_tokens": 20, "cached_tokens": 4}
    assert store.get_batch(OWNER, batch.id) == replace(batch, **counted)
    assert store.answered(batch.id) == {1, 2, 3, 4}
    assert list(store.results(batch.id, ok=True)) == [line(1), line(3, row="first"), line(4)]
    assert list(store.results(batch.id, ok=False)) == [line(2, ok=False)]


def test_a_batch_that_has_ended_forgets_its_lines_and_takes_none(store: Store) -> None:
    batch = with_batch(store)
    store.add_results(batch.id, [line(1), line(2)])
    ended = store.move(batch.id, WORKED, "completed")
    assert ended is not None
    assert ended.completed == 2
    store.add_results(batch.id, [line(3)])
    assert store.answered(batch.id) == set()
    assert store.get_batch(OWNER, batch.id) == ended


def test_two_workers_on_one_batch_count_each_line_once(opener: Opener) -> None:
    stores = [opener(), opener()]
    batch = with_batch(stores[0])

    def work(store: Store, numbers: range) -> None:
        for start in numbers[::10]:
            store.add_results(batch.id, [line(number) for number in range(start, start + 10)])

    at_once([lambda: work(stores[0], range(1, 151)), lambda: work(stores[1], range(101, 251))])
    assert stores[0].answered(batch.id) == set(range(1, 251))
    assert stores[0].get_batch(OWNER, batch.id).completed == 250


def test_results_of_one_batch_are_read_by_number_page_by_page(store: Store) -> None:
    batch, other = with_batch(store), with_batch(store)
    last = 3 * RESULTS_AT_ONCE
    store.add_results(other.id, [line(1)])
    store.add_results(batch.id, [line(number, ok=number % 3 != 0) for number in range(last, 0, -1)])
    good, bad = ([one.number for one in store.results(batch.id, ok=ok)] for ok in (True, False))
    assert bad == list(range(3, last + 1, 3))
    assert good == [number for number in range(1, last + 1) if number % 3]
    assert list(store.results("batch_none", ok=True)) == []


def test_results_may_be_added_while_they_are_read(store: Store) -> None:
    """The reader holds no lock: a writer between two rows goes on, and later numbers are still seen."""
    batch = with_batch(store)
    store.add_results(batch.id, [line(number) for number in range(1, RESULTS_AT_ONCE + 1)])
    reading = store.results(batch.id, ok=True)
    assert next(reading).number == 1
    store.add_results(batch.id, [line(RESULTS_AT_ONCE + 1)])
    assert [one.number for one in reading] == list(range(2, RESULTS_AT_ONCE + 2))


def test_a_new_database_may_be_opened_by_many_at_once(opener: Opener) -> None:
    stores = at_once([opener] * 6)
    file = with_file(stores[0])
    assert all(store.get_file(OWNER, file.id) == file for store in stores)
