"""What filters ask about, of every passage, in memory: a few bytes a passage, compared a whole column at a time.

It holds no text and no JSON: members of the metadata are kept as 64-bit hashes. It is not safe to change while it is read; who
owns it sees to that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.retrieval.documents import TRUST, Filter, strings
from trimtab.retrieval.growing import Growing
from trimtab.retrieval.matrix import Numbers, places
from trimtab.retrieval.records import Row

Mask = npt.NDArray[np.bool_]

_FOREVER = date.max.toordinal()


class Postings:
    """Which passages have which value of one member."""

    def __init__(self) -> None:
        self._rows: Growing[np.int32] = Growing(np.int32)
        self._keys: Growing[np.int64] = Growing(np.int64)

    def extend(self, rows: npt.NDArray[np.int32], keys: npt.NDArray[np.int64]) -> None:
        """Adds pairs of passage and value."""
        self._rows.extend(rows)
        self._keys.extend(keys)

    def having(self, keys: Sequence[int], total: int) -> Mask:
        """Which of `total` passages have one of the values."""
        found = np.zeros(total, dtype=np.bool_)
        own = self._keys.values
        chosen = own == keys[0] if len(keys) == 1 else np.isin(own, np.asarray(keys, dtype=np.int64))
        found[self._rows.values[chosen]] = True
        return found

    def keep(self, kept: Mask) -> None:
        """Leaves the passages for which `kept` is True and counts them anew."""
        stays = kept[self._rows.values]
        renumbered = (np.cumsum(kept) - 1).astype(np.int32)
        self._rows.keep(stays)
        self._keys.keep(stays)
        self._rows.values[:] = renumbered[self._rows.values]


@dataclass(frozen=True, slots=True)
class Added:
    """Passages as columns, made ready before anyone has to wait."""

    values: tuple[npt.NDArray[Any], ...]
    """Number, document, trust, first day, last day, whether it holds everywhere, key of the id."""
    members: Mapping[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]]
    """By question: which of the passages, counted from 0, answers it with which key."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Added":
        """The columns of passages in the order of their numbers."""
        metadata = [row.metadata for row in rows]
        values = (
            np.asarray([row.number for row in rows], dtype=np.int64),
            np.asarray([row.document for row in rows], dtype=np.int64),
            np.asarray([_RANK.get(given.get("trust"), 0) for given in metadata], dtype=np.int8),
            np.asarray([_day(given.get("valid_from"), 0) for given in metadata], dtype=np.int32),
            np.asarray([_day(given.get("valid_until"), _FOREVER) for given in metadata], dtype=np.int32),
            np.asarray(
                ["jurisdiction" not in given or not strings(given["jurisdiction"]) for given in metadata], dtype=np.bool_
            ),
            np.asarray([hash(row.id) for row in rows], dtype=np.int64),
        )
        found: dict[str, tuple[list[int], list[int]]] = {}
        for row, given in enumerate(metadata):
            for name, key in _pairs(given):
                held, keys = found.setdefault(name, ([], []))
                held.append(row)
                keys.append(key)
        members = {
            name: (np.asarray(held, dtype=np.int32), np.asarray(keys, dtype=np.int64)) for name, (held, keys) in found.items()
        }
        return cls(values, members)


class Columns:
    """A row a passage, in the order of the numbers."""

    def __init__(self) -> None:
        self._numbers: Growing[np.int64] = Growing(np.int64)
        self._documents: Growing[np.int64] = Growing(np.int64)
        self._living: Growing[np.bool_] = Growing(np.bool_)
        self._trust: Growing[np.int8] = Growing(np.int8)
        self._first_day: Growing[np.int32] = Growing(np.int32)
        self._last_day: Growing[np.int32] = Growing(np.int32)
        self._everywhere: Growing[np.bool_] = Growing(np.bool_)
        self._ids: Growing[np.int64] = Growing(np.int64)
        self._members: dict[str, Postings] = {}
        self._dead = 0

    def __len__(self) -> int:
        return len(self._numbers) - self._dead

    def extend(self, added: Added) -> None:
        """Takes passages in; their numbers are above all before."""
        begin = len(self._numbers)
        for column, values in zip(self._every_column(), added.values, strict=True):
            column.extend(values)
        self._living.extend(np.ones(len(added.values[0]), dtype=np.bool_))
        for name, (rows, keys) in added.members.items():
            self._members.setdefault(name, Postings()).extend(rows + begin, keys)

    def _every_column(self) -> tuple[Growing[Any], ...]:
        """In the order of `Added.values`."""
        return (
            self._numbers,
            self._documents,
            self._trust,
            self._first_day,
            self._last_day,
            self._everywhere,
            self._ids,
        )

    def remove(self, numbers: Numbers) -> None:
        """Takes passages out."""
        rows = places(self._numbers.values, numbers)
        rows = rows[self._living.values[rows]]
        self._living.values[rows] = False
        self._dead += len(rows)
        if self._dead > 1024 + len(self) // 2:
            self._compact()

    def _compact(self) -> None:
        kept = self._living.values.copy()
        for postings in self._members.values():
            postings.keep(kept)
        for column in (*self._every_column(), self._living):
            column.keep(kept)
        self._dead = 0

    def admitted(self, where: Filter) -> Numbers:
        """Numbers of the passages that a filter lets through, sorted."""
        mask = self._living.values.copy()
        if where.min_trust != TRUST[0]:
            mask &= self._trust.values >= TRUST.index(where.min_trust)
        if where.valid_on is not None:
            day = where.valid_on.toordinal()
            mask &= (self._first_day.values <= day) & (day <= self._last_day.values)
        if where.jurisdiction:
            mask &= self._everywhere.values | self._having(_HAS["jurisdiction"], where.jurisdiction)
        for tag in where.tags:
            mask &= self._having(_HAS["tags"], (tag,))
        for name, value in where.where.items():
            mask &= self._having(_equal(name), (value,))
        if where.ids:
            mask &= np.isin(self._ids.values, np.asarray([_key(wanted) for wanted in where.ids], dtype=np.int64))
        return self._numbers.values[mask]

    def _having(self, member: str, values: Sequence[Any]) -> Mask:
        total = len(self._numbers)
        postings = self._members.get(member)
        return postings.having([_key(value) for value in values], total) if postings else np.zeros(total, dtype=np.bool_)

    def above(self, number: int) -> Numbers:
        """Numbers of the passages above one, sorted."""
        begin = int(np.searchsorted(self._numbers.values, number, side="right"))
        return self._numbers.values[begin:][self._living.values[begin:]]

    def held(self, numbers: Numbers) -> Numbers:
        """Those of the sorted numbers that are there."""
        rows = places(self._numbers.values, numbers)
        return self._numbers.values[rows[self._living.values[rows]]]

    def documents(self, numbers: Numbers) -> Numbers:
        """The document of each of these passages, which must be there."""
        return self._documents.values[places(self._numbers.values, numbers)]


_RANK: dict[Any, int] = {trust: rank for rank, trust in enumerate(TRUST)}
_HAS = {"jurisdiction": "jurisdiction has", "tags": "tags has"}
"""Members that hold several values -> the question whether one is among them."""


def _equal(member: str) -> str:
    """The question whether a member is just one value."""
    return f"{member} is"


def _pairs(metadata: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every question about a document that is answered with yes."""
    for name, value in metadata.items():
        if name in _HAS:
            for item in strings(value):
                yield _HAS[name], hash(item)
        if isinstance(value, str | int | float):
            yield _equal(name), _key(value)


def _key(value: str | float) -> int:
    """A hash that is the same for values that JSON takes for equal: 1 and 1.0, but not true, and not "1"."""
    if isinstance(value, str):
        return hash(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return hash(("bool" if isinstance(value, bool) else "number", str(value)))


def _day(value: str | None, otherwise: int) -> int:
    return date.fromisoformat(value).toordinal() if value else otherwise
