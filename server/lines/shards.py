"""Which lines of an input are this run's, and whether any of them is unanswered. Imports nothing heavy."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import jiter

from trimtab.server.lines.rows import Rows

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Shard:
    """The lines whose number leaves the rest `index` when it is divided by `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`I/N`, I from 0 to N-1. Raises ValueError naming the text."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if found is None or int(found[1]) >= int(found[2]):
            raise ValueError(f"{text!r}: a shard is I/N with I from 0 to N-1, e.g. 0/4 to 3/4 for four machines")
        return cls(int(found[1]), int(found[2]))

    def holds(self, number: int) -> bool:
        """Whether a line is of this shard."""
        return number % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True)
class Survey:
    """An input at a glance."""

    sha256: str
    lines: int
    """Lines of the shard that are not blank."""
    missing: int
    """Those that no row settles; 0 is exact, more may be an estimate where lines are malformed."""


def survey(path: Path, shard: Shard, rows: Rows | None = None) -> Survey:
    """An input against the rows of its output; None: there are none yet. Holds one line at a time, and the ids."""
    digest, seen = hashlib.sha256(), set[str]()
    lines = missing = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            digest.update(raw)
            if raw.isspace():
                continue
            lines += shard.holds(number)
            if rows is not None:
                missing += not _is_settled(raw, number, rows, seen) and shard.holds(number)
    return Survey(digest.hexdigest(), lines, lines if rows is None else missing)


def _is_settled(raw: bytes, number: int, rows: Rows, seen: set[str]) -> bool:
    """Whether a row settles a line; only the first line with an id may be settled by that id."""
    custom_id = custom_id_of(raw, number)
    if custom_id is None or custom_id in seen:
        return number in rows.numbers
    seen.add(custom_id)
    return rows.settles(custom_id, number)


def custom_id_of(raw: bytes, number: int) -> str | None:
    """What may be the custom_id of a line; None where it has none. It is not checked further."""
    try:
        row = jiter.from_json(raw.removeprefix(BOM) if number == 1 else raw, cache_mode="keys")
    except ValueError:
        return None
    custom_id = row.get("custom_id") if isinstance(row, dict) else None
    return custom_id if isinstance(custom_id, str) else None
