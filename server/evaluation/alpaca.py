"""AlpacaEval's files: answers as it reads them, its answers as a log, and its annotations as the scores of a comparing scorer.

Its files are JSON lists. Outputs hold `instruction`, `output`, `generator`; annotations hold `instruction`, `output_1` (the
reference's), `output_2` and `preference`, from 1 (the first is better) to 2 (the second is), 1.5 or in old files 0 for a tie.
Only an instruction fits there: a sample with a system turn or an earlier exchange has no place in it and is left out, told.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from trimtab.server.evaluation.identity import package_versions
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.measures import TIE
from trimtab.server.evaluation.records import Alignment, Generation, Header, Score, ScorerRecord
from trimtab.server.evaluation.samples import Sample

SCORER = "alpaca_eval"
SAYS = "How far {annotator} of AlpacaEval prefers the answer to the first alignment's: 1 this one, 0.5 neither, 0 the first."
SOURCE = "Dubois et al. 2024, arXiv 2404.04475"


class AlpacaError(Exception):
    """A file is none of AlpacaEval's, or does not fit the log; the message says what is wrong."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


R = TypeVar("R", bound=_Row)


class Output(_Row):
    """An answer."""

    instruction: str
    output: str
    generator: str = "unnamed"
    dataset: str | None = None
    input: str = ""
    """In old files, what the instruction is about; it follows the instruction behind a blank line."""

    @property
    def prompt(self) -> str:
        """What was asked."""
        return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


class Annotation(_Row):
    """What an annotator said of two answers."""

    instruction: str
    output_1: str
    output_2: str
    preference: int | float | None = None
    annotator: str = "an annotator"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Rows for AlpacaEval, and which samples have none."""

    rows: tuple[dict[str, str], ...]
    left_out: tuple[str, ...]
    """One reason a sample."""


def outputs_of(log: Log, alignment: str) -> Outputs:
    """An alignment's answers, in the order of the samples. Raises AlpacaError for a name that the log does not have."""
    names = [one.name for one in log.header.alignments]
    if alignment not in names:
        raise AlpacaError(f"the log has no alignment {alignment[:100]!r}; it has: {', '.join(names)}")
    rows: list[dict[str, str]] = []
    left_out: list[str] = []
    seen: set[str] = set()
    for sample in log.samples.values():
        generation = log.generations.get((alignment, sample.id))
        if (reason := _obstacle(sample, generation, seen)) is not None:
            left_out.append(f"{sample.id}: {reason}")
            continue
        seen.add(sample.prompt)
        dataset = sample.category or log.header.dataset
        generator = f"{log.header.model}:{alignment}"
        answer = (generation.answer if generation else None) or ""
        rows.append({"dataset": dataset, "instruction": sample.prompt, "output": answer, "generator": generator})
    return Outputs(tuple(rows), tuple(left_out))


def _obstacle(sample: Sample, generation: Generation | None, seen: set[str]) -> str | None:
    """Why an answer has no row; None where it has one."""
    if generation is None or generation.answer is None:
        return "no answer" if generation is None or generation.error is None else f"no answer: {generation.error}"
    if len(sample.messages) > 1:
        return "more than an instruction: there are other turns before it"
    return "its instruction comes twice, and AlpacaEval tells answers by their instruction" if sample.prompt in seen else None


@dataclass(frozen=True, slots=True)
class Taken:
    """A log made of two files."""

    header: Header
    samples: tuple[Sample, ...]
    generations: tuple[Generation, ...]
    unmatched: int
    """Rows of either file that the other has no instruction for."""


def taken(outputs: Path, reference: Path) -> Taken:
    """The log of two files of outputs, of which the reference is the first alignment. Raises AlpacaError."""
    theirs, ours = read_outputs(reference), read_outputs(outputs)
    samples: list[Sample] = []
    couples: list[tuple[Output, Output]] = []
    left = dict(_keyed(ours))
    for key, row in _keyed(theirs):
        if (match := left.pop(key, None)) is not None:
            name = f"{len(samples) + 1:04d}"
            samples.append(Sample(name, ({"role": "user", "content": row.prompt},), row.dataset or match.dataset))
            couples.append((row, match))
    if not couples:
        raise AlpacaError(f"{outputs} and {reference} share no instruction")
    first, second = _names(theirs[0].generator, ours[0].generator)
    generations = [
        Generation(alignment=name, sample=sample.id, answer=row.output)
        for sample, couple in zip(samples, couples, strict=True)
        for name, row in zip((first, second), couple, strict=True)
    ]
    header = _header(outputs, reference, len(samples), (first, second))
    return Taken(header, tuple(samples), tuple(generations), len(ours) + len(theirs) - 2 * len(couples))


def _keyed(rows: Sequence[Output]) -> Iterator[tuple[tuple[str, int], Output]]:
    """Each row by its prompt and how often that came before, so that a repeated prompt meets its own repetition."""
    seen: dict[str, int] = {}
    for row in rows:
        seen[row.prompt] = seen.get(row.prompt, 0) + 1
        yield (row.prompt, seen[row.prompt]), row


def _names(first: str, second: str) -> tuple[str, str]:
    return first, f"{second}#2" if second == first else second


def _header(outputs: Path, reference: Path, samples: int, names: tuple[str, str]) -> Header:
    digest = hashlib.sha256(reference.read_bytes() + outputs.read_bytes()).hexdigest()
    alignments = tuple(Alignment(name=name, spec=name) for name in names)
    return Header(
        created=time.time(),
        model=names[1],
        engine="alpaca_eval",
        dataset=outputs.name,
        dataset_sha256=digest,
        samples=samples,
        seed=0,
        alignments=alignments,
        packages=package_versions(),
    )


@dataclass(frozen=True, slots=True)
class Annotated:
    """Annotations as a scorer's."""

    scores: tuple[Score, ...]
    record: ScorerRecord
    unmatched: int
    """Annotations of answers that the log does not hold."""


def annotated(log: Log, path: Path) -> Annotated:
    """The scores of an `annotations.json`; answers are told by instruction and both texts, in whichever order they stand.

    Raises AlpacaError where no annotation is of this log's answers, or several annotators speak.
    """
    rows = _read(path, Annotation)
    annotators = list(dict.fromkeys(row.annotator for row in rows))
    if len(annotators) > 1:
        raise AlpacaError(f"{path} holds several annotators ({', '.join(annotators[:5])}); give one file for each")
    places = _places(log)
    found: dict[tuple[str, str], Score] = {}
    unmatched = 0
    for number, row in enumerate(rows, 1):
        scores = list(_scores(row, places, f"{path}, annotation {number}"))
        unmatched += not scores
        found |= {(score.alignment, score.sample): score for score in scores}
    if not found:
        raise AlpacaError(f"{path} holds no annotation of this log's answers")
    return Annotated((*found.values(), *_own(log, found)), _record(annotators[0], path), unmatched)


Place = tuple[str, str]
"""Alignment, sample."""


def _places(log: Log) -> Mapping[tuple[str, str, str], Sequence[Place]]:
    """(Instruction, the first alignment's answer, another's) -> whose they are."""
    first = log.header.alignments[0].name
    found: dict[tuple[str, str, str], list[Place]] = {}
    for alignment in log.header.alignments[1:]:
        for sample in log.samples.values():
            texts = [_text(log, name, sample.id) for name in (first, alignment.name)]
            if texts[0] is not None and texts[1] is not None:
                found.setdefault((sample.prompt, texts[0], texts[1]), []).append((alignment.name, sample.id))
    return found


def _text(log: Log, alignment: str, sample: str) -> str | None:
    generation = log.generations.get((alignment, sample))
    return generation.answer if generation is not None else None


def _scores(row: Annotation, places: Mapping[tuple[str, str, str], Sequence[Place]], where: str) -> Iterator[Score]:
    value = preference_value(row.preference, where)
    swapped = None if value is None else 1.0 - value
    straight = places.get((row.instruction, row.output_1, row.output_2), ())
    turned = places.get((row.instruction, row.output_2, row.output_1), ()) if row.output_1 != row.output_2 else ()
    for worth, of in ((value, straight), (swapped, turned)):
        for alignment, sample in of:
            reason = None if worth is not None else "AlpacaEval has no preference"
            yield Score(scorer=SCORER, alignment=alignment, sample=sample, value=worth, unscored=reason)


def preference_value(preference: float | None, where: str) -> float | None:
    """A preference as a win of the second answer: 2 is 1, 1 is 0, 1.5 and 0 are a tie; None, NaN and -1 are no verdict.

    Raises AlpacaError for anything else.
    """
    if preference is None or math.isnan(preference) or preference == -1:  # what its cache of annotations writes for none
        return None
    if preference == 0:
        return TIE
    if not 1 <= preference <= 2:
        raise AlpacaError(f"{where}: preference is {preference}; it lies between 1 (the first is better) and 2 (the second is)")
    return preference - 1.0


def _own(log: Log, found: Mapping[Place, Score]) -> Iterator[Score]:
    """The first alignment against itself, on the samples that are annotated: a tie, as a judge of this project has it."""
    first = log.header.alignments[0].name
    for sample in dict.fromkeys(sample for _, sample in found):
        yield Score(scorer=SCORER, alignment=first, sample=sample, value=TIE, details={"baseline": True})


def _record(annotator: str, path: Path) -> ScorerRecord:
    return ScorerRecord(
        name=SCORER,
        title="AlpacaEval",
        better="higher",
        says=SAYS.format(annotator=annotator),
        source=SOURCE,
        compares=True,
        of_preference=True,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def read_outputs(path: Path) -> tuple[Output, ...]:
    """The rows of a file of outputs. Raises AlpacaError naming the row."""
    return _read(path, Output)


def _read(path: Path, kind: type[R]) -> tuple[R, ...]:
    """The rows of a file: a JSON list of objects. Raises AlpacaError."""
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AlpacaError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, list) or not content:
        raise AlpacaError(f"{path} must hold a list of objects, and at least one")
    rows = []
    for number, row in enumerate(content, 1):
        try:
            rows.append(kind.model_validate(row))
        except ValidationError as error:
            raise AlpacaError(f"{path}, row {number}: {_fault(error, row)}") from None
    return tuple(rows)


def _fault(error: ValidationError, row: Any) -> str:
    """The first finding, and which members there are."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    members = f"; the row has: {', '.join(map(str, list(row)[:12]))}" if isinstance(row, dict) else ""
    return f"{place + ': ' if place else ''}{first['msg']}{members}"
