"""Ratings: a file that each one is added to as it is made, and their way back into the log, unblinded.

Lines are only added. Of a pair and a rater the last line counts; one with `choice` null takes a rating back.
"""

import errno
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.raters.pairs import (
    KeyEntry,
    Pair,
    RatersError,
    Record,
    read_key,
    read_records,
    texts_of,
    texts_sha256,
    write_records,
)

RATINGS = "ratings.jsonl"
"""Unblinded ratings, in the log's folder."""
Choice = Literal["a", "b", "tie"]


class RatingLine(Record):
    """What a rater said of a pair."""

    pair: str
    rater: Annotated[str, Field(min_length=1, max_length=100)]
    choice: Choice | None
    """The better side; None takes back what was said before."""
    at: float = 0.0
    """Unix time."""


class HumanRating(Record):
    """What a person said of an alignment's answer against the first alignment's."""

    rater: str
    alignment: str
    sample: str
    value: float
    """1 = the alignment's answer is better, 0.5 = a tie, 0 = the first alignment's is."""
    pair: str


class RatingFile:
    """The ratings of one rater of these pairs, kept in a file that may hold other raters' too. A context manager."""

    def __init__(self, path: Path, rater: str, pairs: Sequence[Pair]) -> None:
        """Goes on with what the file holds; a last line that was cut short is dropped. Raises RatersError."""
        self.path, self.rater = path, rater
        self._ids = {pair.id for pair in pairs}
        self._done: dict[str, Choice] = {}
        try:
            _cut_torn(path)
            for line in read_records(path, RatingLine) if path.exists() else ():
                if line.rater == rater and line.pair in self._ids:
                    self._take(line.pair, line.choice)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise RatersError(f"{path} cannot be written: {error.strerror or error}") from error

    def __enter__(self) -> "RatingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def done(self) -> Mapping[str, Choice]:
        """What this rater has said, by pair, in the order of saying."""
        return self._done

    def rate(self, pair: str, choice: Choice) -> None:
        """Keep a rating; it is on the disk when this returns. Raises RatersError for an unknown pair, or a full disk."""
        if pair not in self._ids:
            raise RatersError(f"there is no pair {pair[:100]!r} in this file")
        self._write(pair, choice)

    def undo(self) -> str | None:
        """Take the last rating back; its pair, None where there is none. Raises RatersError on a full disk."""
        if not self._done:
            return None
        pair = next(reversed(self._done))
        self._write(pair, None)
        return pair

    def _write(self, pair: str, choice: Choice | None) -> None:
        line = RatingLine(pair=pair, rater=self.rater, choice=choice, at=round(time.time(), 3))
        begin, told = self._file.tell(), line.model_dump_json().encode() + b"\n"
        try:
            if self._file.write(told) != len(told):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(begin)
            raise RatersError(f"{self.path} cannot be written: {error.strerror or error}") from error
        self._take(pair, choice)

    def _take(self, pair: str, choice: Choice | None) -> None:
        self._done.pop(pair, None)
        if choice is not None:
            self._done[pair] = choice


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of importing."""

    ratings: tuple[HumanRating, ...]
    """All that the log has now."""
    added: int
    replaced: int


def import_ratings(folder: Path, log: Log, files: Sequence[Path]) -> Imported:
    """Ratings unblinded into the log's folder; the same rater's earlier one of a pair is replaced, or taken back.

    Nothing is written where one line is wrong. Raises RatersError naming file and line: an id that the key does not know, a
    pair whose answers are no longer the log's.
    """
    key = {entry.pair: entry for entry in read_key(folder)}
    kept = {(one.pair, one.rater): one for one in read_ratings(folder)}
    known = set(kept)
    said: set[tuple[str, str]] = set()
    for path in files:
        for number, line in enumerate(read_records(path, RatingLine), 1):
            entry = _entry(line, key, log, f"{path}, rating {number}")
            said.add((line.pair, line.rater))
            kept.pop((line.pair, line.rater), None)
            if line.choice is not None:
                kept[line.pair, line.rater] = unblinded(line, line.choice, entry)
    write_records(folder / RATINGS, kept.values())
    here = [one for one in said if one in kept]
    return Imported(tuple(kept.values()), sum(one not in known for one in here), sum(one in known for one in here))


def read_ratings(folder: Path) -> tuple[HumanRating, ...]:
    """The unblinded ratings of a log; none where none were imported. Raises RatersError."""
    return read_records(folder / RATINGS, HumanRating) if (folder / RATINGS).exists() else ()


def unblinded(line: RatingLine, choice: Choice, entry: KeyEntry) -> HumanRating:
    """The rating by name."""
    value = 0.5 if choice == "tie" else float(choice == entry.side)
    return HumanRating(rater=line.rater, alignment=entry.alignment, sample=entry.sample, value=value, pair=line.pair)


def _entry(line: RatingLine, key: Mapping[str, KeyEntry], log: Log, where: str) -> KeyEntry:
    """The key to a rating. Raises RatersError where there is none, or where the log has other answers by now."""
    entry = key.get(line.pair)
    if entry is None:
        raise RatersError(f"{where}: the pair {line.pair[:100]!r} was not exported from this log")
    if texts_sha256(texts_of(log, entry.alignment, entry.sample)) != entry.texts_sha256:
        raise RatersError(f"{where}: the log holds other answers than those that were rated; export pairs again")
    return entry


def by_pair(ratings: Sequence[HumanRating]) -> dict[tuple[str, str], dict[str, float]]:
    """(Alignment, sample) -> rater -> value. A rater who met the answers twice, in two exports, counts with the later one."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for one in ratings:
        found.setdefault((one.alignment, one.sample), {})[one.rater] = one.value
    return found


def _cut_torn(path: Path) -> None:
    """Drop what stands behind the last line's end: the program died while it wrote it."""
    if not path.exists():
        return
    if not path.is_file():
        raise RatersError(f"{path} is no file")
    content = path.read_bytes()
    kept = content.rfind(b"\n") + 1
    if kept < len(content):
        os.truncate(path, kept)
