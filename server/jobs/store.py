"""The store: files, batches and answered lines as rows. Its methods block; call them in a thread.

Any number of servers may share one: what changes a batch is one statement that compares and sets, or a transaction that holds
the batch's row. All raise EngineUnavailable (`jobs_unavailable`) where the database cannot work and StorageFull on a full disk.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, RowMapping, Table, and_, delete, func, insert, or_, select, text, update

from trimtab.server.errors import BodyTooLarge, Conflict, NotFound
from trimtab.server.jobs.database import Database
from trimtab.server.jobs.listing import Stretch, page_rows, storable
from trimtab.server.jobs.pages import Order, Page
from trimtab.server.jobs.records import ENDED, WORKED, BatchRecord, BatchStatus, FileRecord, LineResult, Purpose
from trimtab.server.jobs.tables import (
    BATCH_COLUMNS,
    BATCHES,
    FILE_COLUMNS,
    FILES,
    RESULT_COLUMNS,
    RESULTS,
    batch_changes,
    batch_record,
    batch_row,
    file_record,
    file_row,
    result_record,
    result_row,
)

RESULTS_AT_ONCE = 200
"""Rows of answered lines in memory while they are read."""
ADDED_AT_ONCE = 1000
FILES_AT_ONCE = 1000
MIB = 1024**2


class Store:
    """Rows of files, batches and answered lines."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str | None, folder: Path) -> Self:
        """The store in the PostgreSQL database of a URL, or in an SQLite file in a folder.

        Raises ConfigFileError for a URL that cannot be used and a database of a newer version.
        """
        return cls(Database.open(url, folder))

    def close(self) -> None:
        """Close the database; twice is once."""
        self._database.close()

    def add_file(self, record: FileRecord, *, quota: int | None = None) -> None:
        """Keep a file; its bytes must be on disk before.

        quota: bytes that all files of its owner may have together; raises BodyTooLarge (`storage_quota_exceeded`) beyond them.
        """
        with self._database.writing() as connection:
            if quota is not None:
                _check_quota(connection, record, quota)
            connection.execute(insert(FILES).values(**file_row(record)))

    def get_file(self, owner: str, id: str) -> FileRecord:
        """A file. Raises NotFound (`file_not_found`), also where it is another owner's."""
        with self._database.reading() as connection:
            return file_record(_file(connection, owner, id))

    def list_files(
        self, owner: str, *, after: str | None = None, limit: int, order: Order = "desc", purpose: Purpose | None = None
    ) -> Page[FileRecord]:
        """Files by the order in which they were made. Raises NotFound (param `after`)."""
        where = () if purpose is None else (FILES.c.purpose == purpose,)
        with self._database.reading() as connection:
            rows, more = page_rows(connection, FILE_COLUMNS, Stretch(owner, after, limit, order), *where)
        return Page(tuple(file_record(row) for row in rows), more)

    def delete_file(self, owner: str, id: str) -> None:
        """Forget a file. Raises NotFound, and Conflict (`file_in_use`) where a batch still works on it."""
        with self._database.writing() as connection:
            _file(connection, owner, id, locked=True)
            working = select(BATCHES.c.id).where(BATCHES.c.input_file_id == id, BATCHES.c.status.in_(WORKED)).limit(1)
            batch = connection.scalar(working)
            if batch is not None:
                message = f"the batch {batch!r} still works on the file {id!r}: cancel it, or wait until it has ended"
                raise Conflict(message, param="file_id", code="file_in_use")
            connection.execute(delete(FILES).where(FILES.c.id == id))

    def expired_files(self, now: float) -> list[FileRecord]:
        """The files that are over age and not the input of a batch that still works; of very many the oldest."""
        working = select(BATCHES.c.input_file_id).where(BATCHES.c.status.in_(WORKED))
        over = select(*FILE_COLUMNS).where(FILES.c.expires_at <= int(now), FILES.c.id.not_in(working))
        with self._database.reading() as connection:
            rows = connection.execute(over.order_by(FILES.c.expires_at, FILES.c.seq).limit(FILES_AT_ONCE)).mappings().all()
        return [file_record(row) for row in rows]

    def known_files(self, ids: Sequence[str]) -> set[str]:
        """Those of some ids that are files."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(FILES.c.id).where(FILES.c.id.in_(ids))))

    def add_batch(self, record: BatchRecord) -> None:
        """Keep a batch. Raises NotFound (param `input_file_id`) where its input is no file of its owner, or not any more."""
        with self._database.writing() as connection:
            _file(connection, record.owner, record.input_file_id, locked=True, param="input_file_id")
            connection.execute(insert(BATCHES).values(**batch_row(record)))

    def get_batch(self, owner: str, id: str) -> BatchRecord:
        """A batch. Raises NotFound (`batch_not_found`), also where it is another owner's."""
        with self._database.reading() as connection:
            return batch_record(_found(connection, BATCHES, BATCH_COLUMNS, owner, id, kind="batch", param="batch_id"))

    def list_batches(self, owner: str, *, after: str | None = None, limit: int) -> Page[BatchRecord]:
        """Batches, the newest first. Raises NotFound (param `after`)."""
        with self._database.reading() as connection:
            rows, more = page_rows(connection, BATCH_COLUMNS, Stretch(owner, after, limit, "desc"))
        return Page(tuple(batch_record(row) for row in rows), more)

    def move(
        self,
        id: str,
        origins: frozenset[BatchStatus],
        to: BatchStatus,
        changes: Mapping[str, object] | None = None,
        files: Sequence[FileRecord] = (),
    ) -> BatchRecord | None:
        """The batch in its new state, or None, and nothing changed, where it was in none of `origins`.

        changes: fields that are set in the same transaction. files: files that are made in it, such as its outputs. A batch
        that ends forgets its answered lines in it too. Raises ValueError for a field that there is not.
        """
        values = batch_changes(changes or {})
        moved = update(BATCHES).where(BATCHES.c.id == id, BATCHES.c.status.in_(origins)).values(status=to, **values)
        with self._database.writing() as connection:
            row = connection.execute(moved.returning(*BATCH_COLUMNS)).mappings().first()
            if row is not None and files:
                connection.execute(insert(FILES), [file_row(file) for file in files])
            if row is not None and to in ENDED:
                connection.execute(delete(RESULTS).where(RESULTS.c.batch_id == id))
        return None if row is None else batch_record(row)

    def claim(self, worker: str, now: float, lease_s: float) -> BatchRecord | None:
        """The oldest batch that needs work and nobody works on, which is this worker's now, until `now + lease_s`."""
        free = and_(BATCHES.c.status.in_(WORKED), or_(BATCHES.c.leased_until.is_(None), BATCHES.c.leased_until <= now))
        oldest = select(BATCHES.c.seq).where(free).order_by(BATCHES.c.seq).limit(1).with_for_update(skip_locked=True)
        taken = update(BATCHES).where(BATCHES.c.seq == oldest.scalar_subquery(), free)
        with self._database.writing() as connection:
            statement = taken.values(worker=worker, leased_until=now + lease_s).returning(*BATCH_COLUMNS)
            row = connection.execute(statement).mappings().first()
        return None if row is None else batch_record(row)

    def renew(self, id: str, worker: str, now: float, lease_s: float) -> bool:
        """Whether the batch is still this worker's; then it is so until `now + lease_s`."""
        held = update(BATCHES).where(BATCHES.c.id == id, BATCHES.c.worker == worker)
        with self._database.writing() as connection:
            return connection.execute(held.values(leased_until=now + lease_s)).rowcount == 1

    def release(self, id: str, worker: str) -> None:
        """Give a batch back; where it is another worker's by now, nothing happens."""
        held = update(BATCHES).where(BATCHES.c.id == id, BATCHES.c.worker == worker)
        with self._database.writing() as connection:
            connection.execute(held.values(worker=None, leased_until=None))

    def add_results(self, id: str, results: Sequence[LineResult]) -> None:
        """Keep answered lines and count them; a line that is answered already stays as it is and is not counted again.

        A batch that has ended takes none: its counts are those of its files.
        """
        lines = [*{result.number: result for result in reversed(results)}.values()]
        held = select(BATCHES.c.seq).where(BATCHES.c.id == id, BATCHES.c.status.in_(WORKED)).with_for_update()
        with self._database.writing() as connection:
            if connection.scalar(held) is None:
                return
            for start in range(0, len(lines), ADDED_AT_ONCE):
                _add(connection, id, lines[start : start + ADDED_AT_ONCE])

    def answered(self, id: str) -> set[int]:
        """Numbers of the lines that are answered."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(RESULTS.c.number).where(RESULTS.c.batch_id == id)))

    def results(self, id: str, *, ok: bool) -> Iterator[LineResult]:
        """The answered lines of one kind by number, read a page at a time."""
        last = 0
        while page := self._results_after(id, ok, last):
            yield from page
            last = page[-1].number

    def _results_after(self, id: str, ok: bool, number: int) -> list[LineResult]:
        query = select(*RESULT_COLUMNS).where(RESULTS.c.batch_id == id, RESULTS.c.ok == ok, RESULTS.c.number > number)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(RESULTS.c.number).limit(RESULTS_AT_ONCE)).mappings().all()
        return [result_record(row) for row in rows]


def _file(connection: Connection, owner: str, id: str, *, locked: bool = False, param: str = "file_id") -> RowMapping:
    return _found(connection, FILES, FILE_COLUMNS, owner, id, kind="file", param=param, locked=locked)


def _found(
    connection: Connection,
    table: Table,
    columns: Sequence[Any],
    owner: str,
    id: str,
    *,
    kind: str,
    param: str,
    locked: bool = False,
) -> RowMapping:
    """The row of an id. Raises NotFound; another owner's is told like one that is not there."""
    row = None
    if storable(id):
        query = select(*columns).where(table.c.id == id, table.c.owner == owner)
        row = connection.execute(query.with_for_update() if locked else query).mappings().first()
    if row is None:
        raise NotFound(f"there is no {kind} {id[:100]!r}", param=param, code=f"{kind}_not_found")
    return row


def _check_quota(connection: Connection, record: FileRecord, quota: int) -> None:
    """Raise BodyTooLarge where the owner's files would be over its quota. Holds the owner until the transaction ends."""
    owner = {"name": record.owner}
    connection.execute(text("INSERT INTO owners (name) VALUES (:name) ON CONFLICT DO NOTHING"), owner)
    connection.execute(text("UPDATE owners SET name = name WHERE name = :name"), owner)
    used = connection.scalar(select(func.coalesce(func.sum(FILES.c.bytes), 0)).where(FILES.c.owner == record.owner)) or 0
    if used + record.bytes > quota:
        shown = f"the files of this key take {used / MIB:.2f} MiB, and this one {record.bytes / MIB:.2f} MiB more"
        message = f"{shown}; {quota / MIB:.2f} MiB are allowed (jobs.key_gib): delete files that are not needed any more"
        raise BodyTooLarge(message, param="file", code="storage_quota_exceeded")


def _add(connection: Connection, id: str, lines: Sequence[LineResult]) -> None:
    """Insert and count the lines that are not there. The batch's row must be held."""
    numbers = [line.number for line in lines]
    there = select(RESULTS.c.number).where(RESULTS.c.batch_id == id, RESULTS.c.number.in_(numbers))
    answered = set(connection.scalars(there))
    fresh = [line for line in lines if line.number not in answered]
    if fresh:
        connection.execute(insert(RESULTS), [result_row(id, line) for line in fresh])
        connection.execute(update(BATCHES).where(BATCHES.c.id == id).values(**_counted(fresh)))


def _counted(fresh: Sequence[LineResult]) -> dict[str, Any]:
    """What a batch's counts become by new lines."""
    done = sum(result.ok for result in fresh)
    counts = {"completed": done, "failed": len(fresh) - done}
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        counts[name] = sum(getattr(result, name) for result in fresh)
    return {name: BATCHES.c[name] + number for name, number in counts.items()}
