"""The documents of a corpus on disk: what is put, removed, read; each change is one transaction and raises the version."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from sqlite3 import Connection
from types import MappingProxyType
from typing import Any

import numpy as np

from trimtab.retrieval.checked import Checked
from trimtab.retrieval.chunking import Span
from trimtab.retrieval.database import Database
from trimtab.retrieval.documents import Document
from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.errors import RetrievalError

STORED = np.dtype("<f4")
"""How a number of a vector lies on disk."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A text cut into passages, with their vectors."""

    spans: Sequence[Span]
    vectors: Vectors
    """Shape (passages, dimension)."""


@dataclass(frozen=True, slots=True)
class Row:
    """A passage as an index knows it."""

    number: int
    """Of the passage; never given twice, rising."""
    document: int
    """Number of its document, as lasting."""
    id: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction did to the passages that are searched."""

    version: int
    removed: Sequence[int]
    """Numbers of passages that are gone."""
    added: Sequence[Row]
    """In the order of their numbers."""
    vectors: Vectors
    """Of those added, shape (len(added), dimension)."""
    documents: int
    """By how many the documents have become more, or fewer."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage as a search returns it."""

    document: Document
    position: int
    text: str


class Unembedded(RetrievalError):
    """A document was to keep the vectors of a text that is no longer there; never leaves the package."""


class Records:
    """Documents and passages of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, documents: Sequence[Checked], embedded: Mapping[str, Embedded]) -> Change:
        """Stores documents of different ids, in place of those that have one of the ids.

        embedded: passages and vectors by text. A text that is missing there keeps those of the living document of the same id.
        Raises Unembedded where that has another text by now.
        """
        with self._database.write() as connection:
            version = next_version(connection)
            living = _living(connection, [checked.document.id for checked in documents])
            texts = [embedded.get(checked.document.text) or _kept(connection, checked, living) for checked in documents]
            removed = retire(connection, [number for number, _ in living.values()], version)
            added = _insert(connection, documents, texts, version)
            vectors = np.concatenate([text.vectors for text in texts])
            return counted(connection, Change(version, removed, added, vectors, len(documents) - len(living)))

    def remove(self, ids: Sequence[str]) -> Change | None:
        """Takes the documents of these ids out; None where there are none of them."""
        with self._database.write() as connection:
            living = _living(connection, ids)
            if not living:
                return None
            version = next_version(connection)
            removed = retire(connection, [number for number, _ in living.values()], version)
            return counted(connection, Change(version, removed, (), no_vectors(), -len(living)))

    def texts(self, ids: Sequence[str]) -> dict[str, str]:
        """The text of each of these ids that is there."""
        with self._database.read() as connection:
            return {name: text for name, (_, text) in _living(connection, ids).items()}

    def document(self, id: str) -> Document | None:
        """The document of an id."""
        with self._database.read() as connection:
            found = connection.execute("SELECT text, metadata FROM documents WHERE id = ? AND died IS NULL", (id,)).fetchone()
        return Document(id, found[0], json.loads(found[1])) if found else None

    def page(self, after: str, limit: int) -> list[Document]:
        """Documents whose ids come behind `after`, at most `limit`, by id."""
        query = "SELECT id, text, metadata FROM documents WHERE id > ? AND died IS NULL ORDER BY id LIMIT ?"
        with self._database.read() as connection:
            return [
                Document(name, text, json.loads(metadata)) for name, text, metadata in connection.execute(query, (after, limit))
            ]

    def passages(self, numbers: Sequence[int]) -> dict[int, Passage]:
        """Passages by number, all as of one moment; those that were gone then are missing."""
        query = (
            "SELECT c.number, c.position, c.start, c.stop, d.id, d.text, d.metadata FROM chunks c JOIN documents d"
            f" ON d.number = c.document WHERE c.number IN ({','.join('?' * len(numbers))}) AND d.died IS NULL"
        )
        with self._database.read() as connection:
            rows = connection.execute(query, numbers).fetchall()
        told = json.loads(f"[{','.join(row[-1] for row in rows)}]")  # in one call, a quarter of the time of many
        return {
            number: Passage(Document(name, text, metadata), position, text[start:stop])
            for (number, position, start, stop, name, text, _), metadata in zip(rows, told, strict=True)
        }

    def living(self, dimension: int, size: int = 4096) -> Iterator[tuple[list[Row], Vectors]]:
        """Every passage that is searched, in the order of the numbers, in batches of `size`."""
        with self._database.read() as connection:
            yield from read_passages(connection, "d.died IS NULL", (), dimension, size)


def next_version(connection: Connection) -> int:
    """Raises the corpus' version by one."""
    connection.execute("UPDATE header SET value = CAST(value AS INTEGER) + 1 WHERE name = 'version'")
    return int(connection.execute("SELECT value FROM header WHERE name = 'version'").fetchone()[0])


def counted(connection: Connection, change: Change) -> Change:
    """The change, reckoned into the corpus' own counts."""
    by = {"documents": change.documents, "chunks": len(change.added) - len(change.removed)}
    query = "UPDATE header SET value = CAST(value AS INTEGER) + ? WHERE name = ?"
    connection.executemany(query, [(more, name) for name, more in by.items()])
    return change


def retire(connection: Connection, documents: Sequence[int], version: int) -> list[int]:
    """Ends the life of documents by number; their passages' numbers. Rows that no snapshot needs are deleted."""
    chosen = json.dumps(documents)
    found = connection.execute(f"SELECT number FROM chunks WHERE document IN {_GIVEN}", (chosen,))
    removed = [int(number) for (number,) in found]
    (newest,) = connection.execute("SELECT COALESCE(MAX(version), -1) FROM snapshots").fetchone()
    connection.execute(f"DELETE FROM documents WHERE number IN {_GIVEN} AND born > ?", (chosen, newest))
    connection.execute(f"UPDATE documents SET died = ? WHERE number IN {_GIVEN}", (version, chosen))
    return removed


def read_passages(
    connection: Connection, where: str, values: Sequence[Any], dimension: int, size: int
) -> Iterator[tuple[list[Row], Vectors]]:
    """Batches of passages whose document meets an SQL condition, in the order of the numbers."""
    cursor = connection.execute(
        "SELECT c.number, c.document, d.id, d.metadata, c.vector FROM chunks c JOIN documents d ON d.number = c.document"
        f" WHERE {where} ORDER BY c.number",
        values,
    )
    while rows := cursor.fetchmany(size):
        vectors = np.frombuffer(b"".join(row[4] for row in rows), dtype=STORED).reshape(-1, dimension)
        yield (
            [Row(number, document, name, _parsed(text)) for number, document, name, text, _ in rows],
            vectors.astype(np.float32),
        )


def no_vectors() -> Vectors:
    """What a change that adds nothing adds."""
    return np.empty((0, 0), dtype=np.float32)


@lru_cache(maxsize=4096)
def _parsed(metadata: str) -> Mapping[str, Any]:
    """Many documents have the same metadata."""
    return MappingProxyType(json.loads(metadata))


_GIVEN = "(SELECT value FROM json_each(?))"


def _living(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Number and text of the living documents of these ids."""
    query = f"SELECT id, number, text FROM documents WHERE id IN {_GIVEN} AND died IS NULL"
    return {name: (int(number), text) for name, number, text in connection.execute(query, (json.dumps(list(ids)),))}


def _kept(connection: Connection, checked: Checked, living: Mapping[str, tuple[int, str]]) -> Embedded:
    """Passages of the document that this one takes the place of."""
    number, text = living.get(checked.document.id, (0, None))
    if text != checked.document.text:
        raise Unembedded(checked.document.id)
    query = "SELECT start, stop, vector FROM chunks WHERE document = ? ORDER BY position"
    rows = connection.execute(query, (number,)).fetchall()
    vectors = np.stack([np.frombuffer(vector, dtype=STORED) for _, _, vector in rows])
    return Embedded([(start, stop) for start, stop, _ in rows], vectors.astype(np.float32))


def _insert(connection: Connection, documents: Sequence[Checked], texts: Sequence[Embedded], version: int) -> list[Row]:
    """Writes new rows with the numbers that come next."""
    document, chunk = _last_number(connection, "documents"), _last_number(connection, "chunks")
    document_rows: list[tuple[Any, ...]] = []
    chunk_rows: list[tuple[Any, ...]] = []
    added: list[Row] = []
    for checked, text in zip(documents, texts, strict=True):
        document += 1
        given = checked.document
        document_rows.append((document, given.id, given.text, checked.metadata, version, None))
        stored = np.ascontiguousarray(text.vectors, dtype=STORED)
        for position, (start, stop) in enumerate(text.spans):
            chunk += 1
            chunk_rows.append((chunk, document, position, start, stop, stored[position].tobytes()))
            added.append(Row(chunk, document, given.id, given.metadata))
    connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", document_rows)
    connection.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)", chunk_rows)
    return added


def _last_number(connection: Connection, table: str) -> int:
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(found[0]) if found else 0
