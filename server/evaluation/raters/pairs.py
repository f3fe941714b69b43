"""Blinded pairs: an alignment's answer beside the first alignment's, without names, and the key that stays with the log.

Whoever has the pairs alone cannot tell which side is which: sides are drawn, and ids and texts hold no name. The pairs of an
alignment are drawn at random from all its pairs that differ and stand in random order, so that any first part of the file is
a random sample too; that is what makes ratings of some speak for all.
"""

import hashlib
import json
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from trimtab.server.evaluation.log import Log

KEY = "rating_key.jsonl"
"""Which side of which pair is whose; in the log's folder."""
Side = Literal["a", "b"]


class RatersError(Exception):
    """Pairs, key or ratings cannot be made or used; the message says why and what to do."""


class Record(BaseModel):
    """A line of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


R = TypeVar("R", bound=Record)


class Pair(Record):
    """What a rater sees."""

    id: str
    """Says nothing about who answered."""
    messages: tuple[dict[str, Any], ...]
    """The conversation that both answer."""
    a: str
    b: str


class KeyEntry(Record):
    """What a rater must not see."""

    pair: str
    alignment: str
    """Whose answer is compared with the first alignment's."""
    sample: str
    side: Side
    """Where the alignment's answer stands."""
    texts_sha256: str
    """Of both answers, so that ratings of texts that the log no longer holds are found out."""


@dataclass(frozen=True, slots=True)
class Blinded:
    """Pairs for raters, and the key to them, in the same order."""

    pairs: tuple[Pair, ...]
    key: tuple[KeyEntry, ...]


def comparable(log: Log, alignment: str) -> tuple[str, ...]:
    """Samples that the alignment and the first one both answered, with different texts; none for the first one itself."""
    first = log.header.alignments[0].name
    both = ((sample, _answer(log, alignment, sample), _answer(log, first, sample)) for sample in log.samples)
    return tuple(sample for sample, one, other in both if one is not None and other is not None and one != other)


def identical(log: Log, alignment: str) -> int:
    """How many samples the alignment and the first one answered with the same text: nobody has to say that these tie."""
    first = log.header.alignments[0].name
    both = ((_answer(log, alignment, sample), _answer(log, first, sample)) for sample in log.samples)
    return sum(one is not None and one == other for one, other in both) if alignment != first else 0


def blinded(log: Log, pairs: int, *, seed: int = 0) -> Blinded:
    """So many pairs, or all there are, evenly from the alignments; the same log, number and seed give the same pairs.

    Raises RatersError where no two answers differ.
    """
    draw = random.Random(seed)
    drawn = _drawn(log, pairs, draw)
    if not drawn:
        raise RatersError("no pair can be rated: no sample has answers of two alignments that differ")
    draw.shuffle(drawn)
    made = [_made(log, alignment, sample, draw.choice(("a", "b")), seed) for alignment, sample in drawn]
    return Blinded(tuple(pair for pair, _ in made), tuple(entry for _, entry in made))


def _drawn(log: Log, pairs: int, draw: random.Random) -> list[tuple[str, str]]:
    """Alignment and sample of each pair, in turns of the alignments."""
    decks = []
    for alignment in log.header.alignments[1:]:
        samples = list(comparable(log, alignment.name))
        draw.shuffle(samples)
        decks.append([(alignment.name, sample) for sample in samples])
    longest = max((len(deck) for deck in decks), default=0)
    return [deck[place] for place in range(longest) for deck in decks if place < len(deck)][:pairs]


def _made(log: Log, alignment: str, sample: str, side: Side, seed: int) -> tuple[Pair, KeyEntry]:
    texts = texts_of(log, alignment, sample)
    digest = texts_sha256(texts)
    name = hashlib.sha256(f"{seed}\0{alignment}\0{sample}\0{digest}".encode()).hexdigest()[:16]
    a, b = texts if side == "a" else texts[::-1]
    messages = tuple({"role": turn["role"], "content": turn["content"]} for turn in log.samples[sample].messages)
    return (
        Pair(id=name, messages=messages, a=a, b=b),
        KeyEntry(pair=name, alignment=alignment, sample=sample, side=side, texts_sha256=digest),
    )


def texts_of(log: Log, alignment: str, sample: str) -> tuple[str, str]:
    """The alignment's answer and the first one's, empty where there is none."""
    first = log.header.alignments[0].name
    return _answer(log, alignment, sample) or "", _answer(log, first, sample) or ""


def texts_sha256(texts: tuple[str, str]) -> str:
    """Of the alignment's answer and the first one's."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _answer(log: Log, alignment: str, sample: str) -> str | None:
    found = log.generations.get((alignment, sample))
    return None if found is None or found.error is not None else found.answer


def keep_key(folder: Path, key: Sequence[KeyEntry]) -> None:
    """Add to the key in a log's folder; a pair that it knows is replaced. Raises RatersError."""
    known = {entry.pair: entry for entry in read_key(folder)} if (folder / KEY).exists() else {}
    write_records(folder / KEY, [*({**known, **{entry.pair: entry for entry in key}}).values()])


def read_key(folder: Path) -> tuple[KeyEntry, ...]:
    """The key in a log's folder. Raises RatersError where there is none."""
    if not (folder / KEY).exists():
        raise RatersError(f"{folder} has no {KEY}: export pairs of this log first (trimtab eval export-pairs {folder} ...)")
    return read_records(folder / KEY, KeyEntry)


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """The pairs of a file. Raises RatersError: no such file, no pairs, a line that is none, an id that comes twice."""
    pairs = read_records(path, Pair)
    if not pairs:
        raise RatersError(f"{path} holds no pairs")
    seen: set[str] = set()
    for number, pair in enumerate(pairs, 1):
        if pair.id in seen:
            raise RatersError(f"{path}, pair {number}: the id {pair.id!r} comes twice")
        seen.add(pair.id)
    return pairs


def read_records(path: Path, kind: type[R]) -> tuple[R, ...]:
    """A record a line. Raises RatersError naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RatersError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(kind.model_validate_json(line))
            except ValidationError as error:
                raise RatersError(f"{path}, line {number}: {first_fault(error)}") from None
    return tuple(found)


def write_records(path: Path, records: Iterable[BaseModel]) -> None:
    """A record a line, in a file that is there whole or not at all. Raises RatersError."""
    staged = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with staged.open("w", encoding="utf-8") as file:
            file.writelines(record.model_dump_json() + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise RatersError(f"{path} cannot be written: {error.strerror or error}") from error


def first_fault(error: ValidationError) -> str:
    """The first finding about a record, in words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
