"""The log of an evaluation as files: how it is begun, added to, taken up again and read.

It knows the schema (`trimtab.server.evaluation.records`) and nothing of models or scorers. Writing holds one line at a time;
reading holds the whole log.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, TypeAdapter, ValidationError

from trimtab.server.evaluation.records import Generation, Header, Score, ScorerRecord
from trimtab.server.evaluation.samples import Sample

logger = logging.getLogger(__name__)

VERSION = 1
HEADER, SAMPLES, GENERATIONS, SCORES, SCORERS = (
    "header.json",
    "samples.jsonl",
    "generations.jsonl",
    "scores.jsonl",
    "scorers.jsonl",
)
FREE = frozenset({"created", "packages"})
"""Keys of a header that may differ between a run and the one that takes it up again."""

GenerationKey = tuple[str, str]
"""Alignment, sample."""
ScoreKey = tuple[str, str, str]
"""Scorer, alignment, sample."""
Record = Generation | Score | ScorerRecord
R = TypeVar("R", Generation, Score, ScorerRecord)

_SAMPLE = TypeAdapter(Sample)
_FILES: Mapping[type[BaseModel], str] = {Generation: GENERATIONS, Score: SCORES, ScorerRecord: SCORERS}


class LogError(Exception):
    """A log cannot be read, begun or taken up again; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log in memory; of each key the last record counts."""

    header: Header
    samples: Mapping[str, Sample]
    """By id, in the order of the data."""
    generations: Mapping[GenerationKey, Generation] = field(default_factory=dict)
    scores: Mapping[ScoreKey, Score] = field(default_factory=dict)
    scorers: Mapping[str, ScorerRecord] = field(default_factory=dict)
    """By name, in the order of their first use."""


def read_log(folder: Path) -> Log:
    """The whole log, also of a run that was cut short or still goes on. Raises LogError."""
    header = read_header(folder)
    samples = {sample.id: sample for sample in _lines(folder / SAMPLES, _SAMPLE.validate_json)}
    return Log(
        header,
        samples,
        {(g.alignment, g.sample): g for g in _records(folder, Generation)},
        {(s.scorer, s.alignment, s.sample): s for s in _records(folder, Score)},
        {record.name: record for record in _records(folder, ScorerRecord)},
    )


def read_header(folder: Path) -> Header:
    """The header of a log. Raises LogError where there is none or its version is unknown."""
    try:
        wire = json.loads((folder / HEADER).read_bytes())
    except FileNotFoundError:
        raise LogError(f"{folder} holds no evaluation: it has no {HEADER}") from None
    except (OSError, ValueError) as error:
        raise LogError(f"{folder / HEADER} cannot be read: {error}") from None
    version = wire.get("version") if isinstance(wire, dict) else None
    if version != VERSION:
        raise LogError(f"{folder / HEADER} has version {version!r}; this Trimtab reads version {VERSION}")
    try:
        return Header.model_validate(wire)
    except ValidationError as error:
        raise LogError(f"{folder / HEADER}: {_first(error)}") from None


def check_free(folder: Path) -> None:
    """Raise LogError where a log lies in the folder; one without a single answer has nothing to lose."""
    if (folder / HEADER).exists() and any(one.error is None for one in _records(folder, Generation)):
        raise LogError(f"{folder} holds an evaluation already: take it up with --resume, or name another folder")


def check_same(folder: Path, given: Mapping[str, Any]) -> None:
    """Raise LogError where a log was begun by another run, as far as these keys of a header say: not all may be known yet.

    Of alignments, name and spec are known.
    """
    kept = read_header(folder).model_dump(mode="json", include=set(given))
    kept["alignments"] = [{"name": one["name"], "spec": one["spec"]} for one in kept["alignments"]]
    _refuse(kept, given)


class LogWriter:
    """Adds records to a log that no other process writes. A context manager; what was added is kept whatever happens next."""

    def __init__(self, folder: Path, lock: FileLock) -> None:
        """For the class methods: the lock is held, header and samples are there."""
        self.folder = folder
        self._lock = lock
        self._files: dict[str, IO[bytes]] = {}

    @classmethod
    def create(cls, folder: Path, header: Header, samples: Iterable[Sample]) -> Self:
        """A new log. Raises LogError where the folder holds one, cannot be written, or is being written."""
        lock = _locked(folder)
        try:
            check_free(folder)
            for name in _FILES.values():
                (folder / name).unlink(missing_ok=True)
            _write_whole(folder / SAMPLES, (_line(_SAMPLE.dump_json(sample)) for sample in samples))
            _write_whole(folder / HEADER, [header.model_dump_json(indent=2).encode() + b"\n"])
        except BaseException:
            lock.release()
            raise
        return cls(folder, lock)

    @classmethod
    def resume(cls, folder: Path, header: Header, samples: Iterable[Sample]) -> Self:
        """A log taken up again by the run that began it.

        Raises LogError naming each key in which this run differs, with both values. Other package versions are a warning.
        """
        writer = cls.reopen(folder)
        try:
            _check_same(read_header(folder), header)
            digest = hashlib.sha256()
            for sample in samples:
                digest.update(_line(_SAMPLE.dump_json(sample)))
            if digest.digest() != hashlib.sha256((folder / SAMPLES).read_bytes()).digest():
                raise LogError(f"{folder} was begun on other samples: another file, --limit, --columns or --seed?")
        except BaseException:
            writer.close()
            raise
        return writer

    @classmethod
    def reopen(cls, folder: Path) -> Self:
        """A log as it is, e.g. to score it again; a last line that was cut short is dropped. Raises LogError."""
        read_header(folder)
        lock = _locked(folder)
        for name in _FILES.values():
            _cut_torn(folder / name)
        return cls(folder, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, record: Record) -> None:
        """Write a record down; it has left this process when this returns. Raises LogError, e.g. on a full disk."""
        name = _FILES[type(record)]
        try:
            if name not in self._files:
                self._files[name] = (self.folder / name).open("ab")
            self._files[name].write(_line(record.model_dump_json().encode()))
            self._files[name].flush()
        except OSError as error:
            raise LogError(f"{self.folder / name} cannot be written: {error.strerror or error}") from error

    def answered(self) -> set[GenerationKey]:
        """Alignment and sample of every answer that is there; errors are none."""
        keys: set[GenerationKey] = set()
        for one in _records(self.folder, Generation):
            (keys.add if one.error is None else keys.discard)((one.alignment, one.sample))
        return keys

    def close(self) -> None:
        """Let others write. Safe to call twice."""
        try:
            for file in self._files.values():
                file.close()
        finally:
            self._files.clear()
            self._lock.release()


def _check_same(kept: Header, given: Header) -> None:
    """Raise LogError where a run differs from the one that began the log."""
    if kept.packages != given.packages:
        names = sorted(n for n in {*kept.packages, *given.packages} if kept.packages.get(n) != given.packages.get(n))
        changes = ", ".join(f"{n} {kept.packages.get(n, 'none')} -> {given.packages.get(n, 'none')}" for n in names)
        logger.warning("the log was begun with other versions: %s", changes)
    _refuse(kept.model_dump(exclude=set(FREE)), given.model_dump(exclude=set(FREE)))


def _refuse(kept: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise LogError naming each place where two headers differ, with both values."""
    differing = [f"  {path}: {_shown(old)} in the log, {_shown(new)} now" for path, old, new in _differences(kept, given, "")]
    if differing:
        lines = "\n".join(differing)
        raise LogError(f"this run is not the one that began the log, so it cannot take it up; it differs in\n{lines}")


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Each place where two plain values differ, with both."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{path}[{place}]")
    elif old != new:
        yield path, old, new


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 160 else text[:159] + "…"


def _locked(folder: Path) -> FileLock:
    """The lock of a folder, which is made where it is missing. Raises LogError where another process holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise LogError(f"{folder} is being written by another evaluation; wait for it, or name another folder") from None
    except OSError as error:
        raise LogError(f"{folder} cannot be written: {error.strerror or error}") from None
    return lock


def _write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file that is there whole or not at all."""
    staged = path.with_name(path.name + ".new")
    try:
        with staged.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        raise LogError(f"{path} cannot be written: {error.strerror or error}") from error


def _line(text: bytes) -> bytes:
    return text + b"\n"


def _cut_torn(path: Path) -> None:
    """Drop what stands behind the last line's end: the process died while it wrote it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        kept = end
        while kept > 0:
            start = max(0, kept - 65_536)
            file.seek(start)
            found = file.read(kept - start).rfind(b"\n")
            kept = start + found + 1 if found >= 0 else start
            if found >= 0:
                break
        if kept < end:
            file.truncate(kept)


def _records(folder: Path, kind: type[R]) -> Iterator[R]:
    """The records of a kind, as they were added."""
    return _lines(folder / _FILES[kind], kind.model_validate_json)


def _lines(path: Path, parse: Any) -> Iterator[Any]:
    """What each whole line says; a last line without an end is not there yet. Raises LogError naming file and line."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield parse(line)
            except ValidationError as error:
                raise LogError(f"{path}, line {number}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
