"""States of a corpus by label, to come back to.

A snapshot costs a row: it names a version, and from then on rows that were alive at that version are kept when they die. To
restore it is a change like any other, with a version of its own; what was put or removed since is undone, and can be come back
to if it was kept by a snapshot too.
"""

from datetime import UTC, datetime
from sqlite3 import Connection

import numpy as np

from trimtab.retrieval.database import Database
from trimtab.retrieval.receipts import Snapshot
from trimtab.retrieval.records import Change, counted, next_version, no_vectors, read_passages, retire


class Snapshots:
    """The snapshots of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, label: str) -> Snapshot | None:
        """Keeps the present state; None where the label is taken."""
        with self._database.write() as connection:
            if _version_of(connection, label) is not None:
                return None
            query = "SELECT value FROM header WHERE name IN ('version', 'documents') ORDER BY name DESC"
            version, documents = (int(value) for (value,) in connection.execute(query))
            taken = Snapshot(label, version, documents, now())
            row = (taken.label, taken.version, taken.documents, taken.created)
            connection.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", row)
            return taken

    def list(self) -> tuple[Snapshot, ...]:
        """Every snapshot, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT label, version, documents, created FROM snapshots ORDER BY version, label")
            return tuple(Snapshot(*row) for row in rows.fetchall())

    def delete(self, label: str) -> bool:
        """Forgets a snapshot and the rows that no other needs; False where there is none of that label."""
        with self._database.write() as connection:
            if not connection.execute("DELETE FROM snapshots WHERE label = ?", (label,)).rowcount:
                return False
            connection.execute(
                "DELETE FROM documents WHERE died IS NOT NULL"
                " AND NOT EXISTS (SELECT 1 FROM snapshots WHERE version >= born AND version < died)"
            )
            return True

    def restore(self, label: str, dimension: int) -> Change | None:
        """Brings back the state of a snapshot; None where there is none of that label."""
        with self._database.write() as connection:
            kept = _version_of(connection, label)
            if kept is None:
                return None
            back = _numbers(connection, "born <= ? AND died > ?", kept, kept)
            version = next_version(connection)
            gone = _numbers(connection, "born > ? AND died IS NULL", kept)
            removed = retire(connection, gone, version)
            for number in back:
                _revive(connection, number, version)
            batches = list(read_passages(connection, "d.born = ?", (version,), dimension, 4096))
            added = [row for rows, _ in batches for row in rows]
            vectors = np.concatenate([vectors for _, vectors in batches]) if batches else no_vectors()
            return counted(connection, Change(version, removed, added, vectors, len(back) - len(gone)))


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version_of(connection: Connection, label: str) -> int | None:
    found = connection.execute("SELECT version FROM snapshots WHERE label = ?", (label,)).fetchone()
    return int(found[0]) if found else None


def _numbers(connection: Connection, where: str, *values: int) -> list[int]:
    return [
        int(number) for (number,) in connection.execute(f"SELECT number FROM documents WHERE {where} ORDER BY number", values)
    ]


def _revive(connection: Connection, number: int, version: int) -> None:
    """Copies a dead document and its passages as living ones; numbers are never given twice, so they have new ones."""
    copy = "INSERT INTO documents (id, text, metadata, born) SELECT id, text, metadata, ? FROM documents WHERE number = ?"
    fresh = connection.execute(copy, (version, number)).lastrowid
    connection.execute(
        "INSERT INTO chunks (document, position, start, stop, vector)"
        " SELECT ?, position, start, stop, vector FROM chunks WHERE document = ? ORDER BY position",
        (fresh, number),
    )
