"""Several logs of the same samples as one, e.g. of a model before and after training: scorers can compare their answers.

What cannot stand in one log is left out and said: samples that not all have, scorers that were configured differently, and
verdicts against a first alignment that is another one now.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from trimtab.server.evaluation.catalogue import CATALOGUE
from trimtab.server.evaluation.data.rows import hash_of
from trimtab.server.evaluation.log import Log, LogError, LogWriter, Record
from trimtab.server.evaluation.records import Alignment, Generation, Header, Score, ScorerRecord
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import ScorerError


@dataclass(frozen=True, slots=True)
class Part:
    """A log to merge."""

    name: str
    """Stands before the names of its alignments, or in place of its only one's."""
    log: Log

    def renamed(self, alignment: str) -> str:
        """The name of one of its alignments in the merged log."""
        return self.name if len(self.log.header.alignments) == 1 else f"{self.name}:{alignment}"


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of it."""

    log: Log
    notes: tuple[str, ...]
    """What was left out and why, and what to mind."""


def merge_logs(parts: Sequence[Part]) -> Merged:
    """One log of the samples that all have with the same id and content; the first alignment of the first is held against.

    Answers with their traces are kept, and the scores of scorers that all logs have with the same configuration. A scorer that
    asks the policy asked another model in each, which is what its numbers are of, so they are kept too.
    Raises LogError: fewer than two logs, names that are empty or not unique, no sample in common.
    """
    _check_names(parts)
    samples = _shared([part.log for part in parts])
    whole = all(len(part.log.samples) == len(samples) for part in parts)
    kept = {name: _record(parts, name, summarised=whole) for name in _names(parts) if _why_left_out(parts, name) is None}
    log = Log(
        _header(parts, samples),
        samples,
        {(one.alignment, one.sample): one for one in _generations(parts, samples)},
        {(one.scorer, one.alignment, one.sample): one for one in _scores(parts, samples, kept)},
        kept,
    )
    return Merged(log, tuple(_notes(parts, samples, kept)))


def keep_log(folder: Path, log: Log) -> None:
    """Write a log into a folder that holds none. Raises LogError."""
    with LogWriter.create(folder, log.header, log.samples.values()) as writer:
        records: Iterator[Record] = chain(log.generations.values(), log.scores.values(), log.scorers.values())
        for record in records:
            writer.add(record)


def check_askable(header: Header, scorers: Iterable[str]) -> None:
    """Raise ScorerError for scorers that would ask one model about the answers of several."""
    asking = [name for name in scorers if name in CATALOGUE and CATALOGUE[name].asks == "policy"]
    if header.merged_from and not header.model_sha256 and asking:
        raise ScorerError(
            f"{', '.join(asking)} ask the model that answered, and this log is of several ({'; '.join(header.merged_from)}); "
            "score each log alone, then merge them again"
        )


def _check_names(parts: Sequence[Part]) -> None:
    if len(parts) < 2:
        raise LogError(f"{len(parts)} log is nothing to merge; name two or more")
    if not all(part.name.strip() for part in parts):
        raise LogError("a name of a log is empty")
    names = [part.renamed(one.name) for part in parts for one in part.log.header.alignments]
    for counted in (Counter(part.name for part in parts), Counter(names)):
        if twice := [name for name, count in counted.items() if count > 1]:
            raise LogError(f"the name {twice[0]!r} would stand for two; give the logs other names")


def _shared(logs: Sequence[Log]) -> dict[str, Sample]:
    """The samples that every log has, as the first has them. Raises LogError where there is none."""
    first, *others = logs
    found = {key: one for key, one in first.samples.items() if all(_same(one, log.samples.get(key)) for log in others)}
    if not found:
        of = ", ".join(f"{log.header.dataset} ({log.header.dataset_sha256[:12]})" for log in logs)
        raise LogError(f"the logs share no sample: none of the same id and content is in all of {of}")
    return found


def _same(one: Sample, other: Sample | None) -> bool:
    """Whether two samples ask and know the same; their category may have another name."""
    return other is not None and replace(one, category=None) == replace(other, category=None)


def _header(parts: Sequence[Part], samples: Mapping[str, Sample]) -> Header:
    headers = [part.log.header for part in parts]
    first = headers[0]
    return Header(
        created=min(one.created for one in headers),
        model=_joined(one.model for one in headers),
        model_sha256="" if _differ(one.model_sha256 for one in headers) else first.model_sha256,
        engine=_joined(one.engine for one in headers),
        dataset=_joined(one.dataset for one in headers),
        dataset_sha256=_dataset_sha256(parts, samples),
        samples=len(samples),
        seed=first.seed,
        sampling={
            key: value for key, value in first.sampling.items() if all(one.sampling.get(key) == value for one in headers)
        },
        alignments=tuple(_alignment(part, one) for part in parts for one in part.log.header.alignments),
        packages={
            name: _joined(one.packages.get(name, "none") for one in headers)
            for name in dict.fromkeys(name for one in headers for name in one.packages)
        },
        merged_from=tuple(map(_told, parts)),
    )


def _alignment(part: Part, one: Alignment) -> Alignment:
    return one.model_copy(update={"name": part.renamed(one.name)})


def _dataset_sha256(parts: Sequence[Part], samples: Mapping[str, Sample]) -> str:
    """The logs' own where all have the same samples."""
    known = {part.log.header.dataset_sha256 for part in parts}
    whole = all(len(part.log.samples) == len(samples) for part in parts)
    return known.pop() if whole and len(known) == 1 else hash_of(samples.values())


def _told(part: Part) -> str:
    """A log in words: name, model, when it was begun."""
    header = part.log.header
    weights = f" ({header.model_sha256[:12]})" if header.model_sha256 else ""
    return f"{part.name}: {header.model}{weights}, {datetime.fromtimestamp(header.created, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _joined(values: Iterable[str]) -> str:
    """The different ones, in their order, with commas between them."""
    return ", ".join(dict.fromkeys(value for value in values if value))


def _differ(values: Iterable[object]) -> bool:
    return len(set(map(repr, values))) > 1


def _generations(parts: Sequence[Part], samples: Mapping[str, Sample]) -> Iterator[Generation]:
    for part in parts:
        for one in part.log.generations.values():
            if one.sample in samples:
                yield one.model_copy(update={"alignment": part.renamed(one.alignment)})


def _scores(parts: Sequence[Part], samples: Mapping[str, Sample], kept: Mapping[str, ScorerRecord]) -> Iterator[Score]:
    for name in kept:
        for part in parts:
            for one in part.log.scores.values():
                if one.scorer == name and one.sample in samples:
                    yield one.model_copy(update={"alignment": part.renamed(one.alignment)})


def _names(parts: Sequence[Part]) -> list[str]:
    """Of every scorer that any log has, in the order of their first use."""
    return list(dict.fromkeys(name for part in parts for name in part.log.scorers))


def _record(parts: Sequence[Part], scorer: str, *, summarised: bool) -> ScorerRecord:
    """What is said of a scorer in the merged log.

    summarised: with what it says of all its verdicts together, where no verdict was left out.
    """
    records = [part.log.scorers[scorer] for part in parts]
    marks = [one.sha256 for one in records]
    summary = {
        part.renamed(alignment): numbers
        for part, record in zip(parts, records, strict=True)
        for alignment, numbers in record.summary.items()
    }
    sha256 = marks[0] if len(set(marks)) == 1 else hashlib.sha256("\n".join(marks).encode()).hexdigest()
    return records[0].model_copy(update={"sha256": sha256, "summary": summary if summarised else {}})


def _why_left_out(parts: Sequence[Part], scorer: str) -> str | None:
    """Why a scorer's numbers cannot stand in one log; None where they can."""
    having = [part for part in parts if scorer in part.log.scorers]
    records = [part.log.scorers[scorer] for part in having]
    if any(record.compares for record in records):
        return f"{scorer} is left out: it compared with the first alignment of each log; score the merged log with it"
    if len(having) < len(parts):
        return f"{scorer} is left out: only {', '.join(part.name for part in having)} of the logs has it"
    if not _is_one(parts, records):
        marks = ", ".join(f"{part.name} {record.sha256[:12]}" for part, record in zip(parts, records, strict=True))
        return f"{scorer} is left out: it was configured differently ({marks})"
    return None


def _is_one(parts: Sequence[Part], records: Sequence[ScorerRecord]) -> bool:
    """Whether records are of one scorer. The mark of one that asks the policy holds the model, which may be another one."""
    if len({record.sha256 for record in records}) == 1:
        return True
    if not all(record.of_policy for record in records) or len({part.log.header.model_sha256 for part in parts}) == 1:
        return False
    first, *others = (record.model_dump(exclude={"sha256", "summary"}) for record in records)
    return all(other == first for other in others)


def _notes(parts: Sequence[Part], samples: Mapping[str, Sample], kept: Mapping[str, ScorerRecord]) -> Iterator[str]:
    for part in parts:
        if lost := len(part.log.samples) - len(samples):
            yield f"{part.name}: {lost} of {len(part.log.samples)} samples are left out: not every log has them"
    yield from (why for name in _names(parts) if (why := _why_left_out(parts, name)) is not None)
    yield from _of_headers(parts)
    asking = [name for name, record in kept.items() if record.of_policy]
    if asking and _differ(part.log.header.model_sha256 for part in parts):
        yield f"{', '.join(asking)} asked the model of each log; numbers per token compare only under one tokenizer"


def _of_headers(parts: Sequence[Part]) -> Iterator[str]:
    """What the merged header cannot say of all logs."""
    headers = [part.log.header for part in parts]
    if _differ(seeds := [one.seed for one in headers]):
        yield f"the seeds differ ({_each(parts, seeds)}); the header has the first"
    for key in dict.fromkeys(key for one in headers for key in one.sampling):
        if _differ(values := [one.sampling.get(key) for one in headers]):
            yield f"{key} differs ({_each(parts, values)}); the header has none"


def _each(parts: Sequence[Part], values: Sequence[object]) -> str:
    return ", ".join(f"{part.name} {value}" for part, value in zip(parts, values, strict=True))
