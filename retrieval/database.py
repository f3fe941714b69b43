"""The SQLite file of a corpus: one writer, readers beside it, and a commit that survives the death of the process.

It knows the tables and how to open them; what the rows mean is `records`' business.
"""

import queue
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from trimtab.retrieval.errors import NewerStore, StoreError

SCHEMA_VERSION = 1
APPLICATION = 0x7472696D
"""`trim`, in the header of the file."""

SCHEMA = """
CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL,
    born INTEGER NOT NULL, died INTEGER
);
CREATE UNIQUE INDEX living ON documents (id) WHERE died IS NULL;
CREATE INDEX dead ON documents (died) WHERE died IS NOT NULL;
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    position INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, vector BLOB NOT NULL
);
CREATE INDEX of_document ON chunks (document);
CREATE TABLE snapshots (label TEXT PRIMARY KEY, version INTEGER NOT NULL, documents INTEGER NOT NULL, created TEXT NOT NULL);
"""
"""A row of `documents` and `chunks` never changes but for `died`, and a number is never given twice: whoever holds a number
knows what it stands for. `born` and `died` are versions of the corpus; a snapshot is a version whose rows are kept."""


class Database:
    """One file, opened; closed by `close`."""

    def __init__(self, path: Path) -> None:
        """Opens what `create` has made. Raises StoreError, NewerStore."""
        self._path = path
        self._writing = threading.Lock()
        self._closed = False
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with _as_store_errors(path):
            self._writer = _connect(path)
            self._check_version()

    def _check_version(self) -> None:
        (found,) = self._writer.execute("PRAGMA user_version").fetchone()
        (application,) = self._writer.execute("PRAGMA application_id").fetchone()
        if application == APPLICATION and found == SCHEMA_VERSION:
            return
        self._writer.close()
        if application == APPLICATION and found > SCHEMA_VERSION:
            raise NewerStore(
                f"{self._path} has format {found}; this version of Trimtab reads up to {SCHEMA_VERSION}: upgrade it"
            )
        raise StoreError(f"{self._path} is no corpus of Trimtab")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on disk when the block ends, undone where it raises."""
        with self._writing, _as_store_errors(self._path):
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection whose single statements each see one committed state."""
        with _as_store_errors(self._path):
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = _connect(self._path)
            try:
                yield connection
            finally:
                if self._closed:
                    connection.close()
                else:
                    self._idle.put(connection)

    def facts(self) -> dict[str, str]:
        """What is noted of the corpus as a whole, by name."""
        with self.read() as connection:
            return dict(connection.execute("SELECT name, value FROM header").fetchall())

    def note(self, facts: Mapping[str, str]) -> None:
        """Notes facts, in place of those of the same names."""
        with self.write() as connection:
            connection.executemany("INSERT OR REPLACE INTO header VALUES (?, ?)", facts.items())

    def close(self) -> None:
        """Ends every connection that is idle, and the others when their block ends; twice is once."""
        self._closed = True
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
        with self._writing:
            self._writer.close()


def create(path: Path) -> None:
    """Makes an empty database."""
    with _as_store_errors(path):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA page_size=8192")  # a vector of 384 floats leaves little room unused
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(SCHEMA)
            connection.execute(f"PRAGMA application_id={APPLICATION}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        finally:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{_escaped(path)}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=30
    )
    connection.execute("PRAGMA synchronous=FULL")  # with WAL: a commit that returns is on disk
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _escaped(path: Path) -> str:
    """The path inside a URI."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


@contextmanager
def _as_store_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
