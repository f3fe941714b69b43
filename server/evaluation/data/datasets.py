"""Samples out of data: prompts, preference pairs, references, multiple-choice questions.

Our own form is JSONL, an object a line. `prompt` alone must be there; a row may have any of the others:

    {"prompt": "Which planet is the largest?"}
    {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a mammal that flies."}]}
    {"prompt": "How do I fold a shirt?", "chosen": "Lay it flat, ...", "rejected": "No idea."}
    {"prompt": "What is the capital of Peru?", "good": ["Lima"], "bad": ["Cusco"], "category": "places"}
    {"prompt": "Which is a fruit?", "choices": ["spoon", "plum"], "answer": "B"}
    {"prompt": "How do I kill a process on Linux?", "refuse": false, "id": "kill-1", "extra": {"prompt_toxicity": 0.2}}

prompt     text, or turns of system, user and assistant, of which the last is the user's; `messages` is another name
chosen, rejected   texts, or one turn of the assistant each; without prompt: conversations that differ in their last turn
best, good, correct_answers, references; bad, incorrect_answers   a text or a list of texts; all of a kind are joined
choices, answer    options, and the place (from 0), letter or text of the right one, or a list of these; or `mc1_targets`
category   a word by which a report groups;   refuse: whether the prompt should be refused;   system: a system turn
id         unique; where it is missing it follows from the content;   extra: numbers that scorers may use

Other columns are left out. In CSV files several values of a cell are set apart by ";". The files of HH-RLHF, TruthfulQA and
RealToxicityPrompts are read as they are.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.server.evaluation.data.columns import LIKELY, check_sources, check_targets, renamed, typed
from trimtab.server.evaluation.data.fields import BadRecord, Record
from trimtab.server.evaluation.data.forms import PUBLISHED, NoForm, common, described, sample_of
from trimtab.server.evaluation.data.rows import content_id, hash_of
from trimtab.server.evaluation.data.sources import DatasetError, Read, name_of, reads
from trimtab.server.evaluation.samples import Sample

SHOWN = 10
"""Reasons that an error tells."""
AS_THEY_ARE: Mapping[str, str] = {}
"""No column is called otherwise."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that makes no sample."""

    line: int
    """From 1."""
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class SampleSet:
    """The samples of a source that are used."""

    samples: tuple[Sample, ...]
    """In the order of the source, ids unique; at least one."""
    bad: tuple[BadRow, ...]
    """Lines that were left out, in order, whatever the limit."""
    name: str
    """The file's name without folders, or the id of the data set."""
    sha256: str
    """Of the samples that are used, in canonical JSON."""
    available: int
    """Samples that the source holds; more than are used where there is a limit."""


def read_samples(
    source: str, *, columns: Mapping[str, str] = AS_THEY_ARE, limit: int | None = None, seed: int = 0
) -> SampleSet:
    """The samples of a file, a saved data set or a data set of the hub (`trimtab.server.evaluation.data.sources`).

    columns: our column -> the source's, e.g. {"prompt": "question"}. limit, seed: a random part of at most so many samples,
    the same for the same samples and seed, and part of that of any larger limit.
    Raises DatasetError: the source cannot be read, a mapped column is missing, no row makes a sample (it lists the forms).
    """
    check_targets(columns)
    collected = _Collected(source, columns)
    for read in reads(source):
        collected.add(read, sample_of)
    return collected.result(limit, seed)


def read_published(
    form: str, source: str, *, limit: int | None = None, seed: int = 0, progress: Callable[[int], None] = lambda end: None
) -> SampleSet:
    """The samples of a published file, as one of `PUBLISHED`. progress: called with the bytes of the file read so far.

    Raises DatasetError as `read_samples`.
    """
    collected = _Collected(source, AS_THEY_ARE)
    for read in reads(source):
        collected.add(read, lambda record: common(PUBLISHED[form].read(record), record))
        progress(read.end)
    return collected.result(limit, seed)


class _Collected:
    """What has been read of a source."""

    def __init__(self, source: str, columns: Mapping[str, str]) -> None:
        self._source, self._columns = source, columns
        self._samples: list[Sample] = []
        self._bad: list[BadRow] = []
        self._lines: dict[str, int] = {}
        self._found: dict[str, None] = {}
        self._formless = 0

    def add(self, read: Read, make: Callable[[Record], Sample]) -> None:
        """Makes a sample of a line, or notes why not."""
        try:
            if read.record is None:
                raise BadRecord(read.reason)
            self._found.update(dict.fromkeys(map(str, read.record)))
            record = renamed(read.record, self._columns)
            self._samples.append(self._claimed(make(typed(record) if read.cells else record), read.line))
        except BadRecord as error:
            self._formless += isinstance(error, NoForm)
            self._bad.append(BadRow(read.line, str(error)))

    def _claimed(self, sample: Sample, line: int) -> Sample:
        """With an id that no other sample has. Raises BadRecord where it is taken."""
        named = sample if sample.id else replace(sample, id=content_id(sample))
        first = self._lines.setdefault(named.id, line)
        if first != line:
            raise BadRecord(f"the id {sample.id!r} is that of line {first} too" if sample.id else f"the same as line {first}")
        return named

    def result(self, limit: int | None, seed: int) -> SampleSet:
        """All of it. Raises DatasetError where that is nothing."""
        if limit is not None and limit < 1:
            raise DatasetError(f"the limit is {limit}; at least 1 sample is needed")
        check_sources(self._columns, self._found, self._source)
        if not self._samples:
            raise DatasetError(self._nothing())
        used = tuple(_part(self._samples, limit, seed))
        return SampleSet(used, tuple(self._bad), name_of(self._source), hash_of(used), len(self._samples))

    def _nothing(self) -> str:
        if not self._bad:
            return f"{self._source}: holds no row"
        if self._formless < len(self._bad):
            return f"{self._source}: none of its {len(self._bad)} rows can be used:{_reasons(self._bad)}"
        likely = next((column for column in LIKELY if column in self._found), None)
        hint = f"; e.g. --columns prompt={likely}" if likely else "; --columns prompt=COLUMN maps one"
        return f"{self._source}: its columns are {', '.join(self._found)}, which fit no form{hint}. Forms:\n{described()}"


def _reasons(bad: Sequence[BadRow]) -> str:
    """A line for each reason, with the first row that it is of."""
    counts = Counter(row.reason for row in bad)
    first = {row.reason: row for row in reversed(bad)}
    told = [f"\n  {first[reason]}{f' (and {count - 1} more)' if count > 1 else ''}" for reason, count in counts.items()]
    return "".join(told[:SHOWN])


def _part(samples: Sequence[Sample], limit: int | None, seed: int) -> Iterable[Sample]:
    """At most `limit` of the samples, in their order: those whose hashes with the seed are the smallest."""
    if limit is None or limit >= len(samples):
        return samples
    drawn = sorted(range(len(samples)), key=lambda place: hashlib.sha256(f"{seed} {samples[place].id}".encode()).digest())
    return (samples[place] for place in sorted(drawn[:limit]))
