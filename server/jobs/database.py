"""The database of files and batches: an SQLite file, or PostgreSQL by URL. It knows transactions and no records.

What goes wrong in it is told without the URL, whose password is nobody's business.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from trimtab.server.config_file import ConfigFileError
from trimtab.server.errors import StorageFull
from trimtab.server.jobs.blobs import full_disk
from trimtab.server.jobs.tables import METADATA, SCHEMA, VERSION
from trimtab.strategies.core.errors import EngineUnavailable

logger = logging.getLogger(__name__)

SQLITE_NAME = "jobs.sqlite3"
BUSY_MS = 30_000
"""How long a writer waits for another one."""
CONNECT_S = 10
CONNECTIONS = 32
_POSTGRES = "postgresql+psycopg"
_SCHEMES = ("postgres", "postgresql", _POSTGRES)
_MAKING = 0x7472696D
"""Lock under which the tables are made; any number that nobody else takes."""


class Database:
    """Transactions on the tables. All raise EngineUnavailable (`jobs_unavailable`) and, on a full disk, StorageFull."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(trimtab_writes=True)

    @classmethod
    def open(cls, url: str | None, folder: Path) -> Self:
        """The database of a URL, or the SQLite file in a folder; its tables are made where they are missing.

        Raises ConfigFileError for a URL that cannot be used and for tables of a newer version.
        """
        database = cls(_sqlite(folder) if url is None else _postgres(url))
        try:
            with _alone(folder) if url is None else nullcontext():
                database._prepare()
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is on disk when the block ends, and undone where the block raises."""
        with _translated(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close the connections; twice is once."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self.writing() as connection:
            if connection.dialect.name != "sqlite":
                connection.execute(select(text("pg_advisory_xact_lock(:key)")), {"key": _MAKING})
            VERSION.create(connection, checkfirst=True)
            found = connection.scalar(select(VERSION.c.version))
            if found is not None and found != SCHEMA:
                message = f"the database of files and batches has the schema {found}, and this version works with {SCHEMA}"
                raise ConfigFileError(f"jobs.database: {message}; use the version of Trimtab that made it, or another database")
            METADATA.create_all(connection)
            if found is None:
                connection.execute(insert(VERSION).values(version=SCHEMA))


def _sqlite(folder: Path) -> Engine:
    """SQLite through which any number of threads and processes may write, one after the other."""
    with full_disk():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(folder / SQLITE_NAME)),
        hide_parameters=True,
        max_overflow=CONNECTIONS,
        connect_args={"timeout": BUSY_MS / 1000, "isolation_level": None},
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While an SQLite file is prepared: its first change to WAL fails at once, and does not wait, where another one reads."""
    lock = FileLock(folder / f"{SQLITE_NAME}.lock")
    with full_disk():
        try:
            lock.acquire(timeout=BUSY_MS / 1000)
        except Timeout as error:
            message = f"the database of files and batches is being prepared by another server for more than {BUSY_MS // 1000} s"
            raise EngineUnavailable(message, code="jobs_unavailable") from error
    try:
        yield
    finally:
        lock.release()


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Take the write lock at the start: a transaction that reads first and writes then could not wait for another's."""
    writes = connection.get_execution_options().get("trimtab_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres(url: str) -> Engine:
    checked = _checked(url)
    try:
        return create_engine(
            checked,
            hide_parameters=True,
            max_overflow=CONNECTIONS,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_S},
        )
    except ImportError as error:
        raise ConfigFileError('jobs.database: PostgreSQL needs the extra postgres: pip install "trimtab[postgres]"') from error


def _checked(url: str) -> URL:
    """The URL with our driver. Raises ConfigFileError, which shows nothing of it but its scheme."""
    allowed = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigFileError(f"jobs.database: this is no database URL (it is not shown); wanted is {allowed}") from None
    if parsed.drivername not in _SCHEMES:
        shown = parsed.drivername[:40]
        raise ConfigFileError(f"jobs.database: {shown!r} is not a database that can be used; wanted is {allowed}") from None
    return parsed.set(drivername=_POSTGRES)


@contextmanager
def _translated() -> Iterator[None]:
    """Turns what a database raises when it cannot work into errors that have a status; mistakes of ours pass."""
    try:
        yield
    except (DataError, IntegrityError, ProgrammingError):
        raise
    except (DBAPIError, PoolTimeout) as error:
        logger.warning("the database of files and batches: %s", _reason(error))
        if _is_full(error):
            raise StorageFull("the disk of the database of files and batches is full; nothing was kept") from error
        raise EngineUnavailable("the database of files and batches cannot be used now", code="jobs_unavailable") from error


def _is_full(error: SQLAlchemyError) -> bool:
    cause: Any = getattr(error, "orig", None)
    return getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", None) == "53100"


def _reason(error: SQLAlchemyError) -> str:
    """The driver's own words, which hold neither the password nor values of a statement."""
    lines = str(getattr(error, "orig", error)).strip().splitlines()
    return " ".join(lines[:3])[:500]
