"""Files that become documents of a corpus, with a progress bar, and what is told of them afterwards."""

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from trimtab.cli.failure import warn

if TYPE_CHECKING:
    from trimtab.retrieval.importing import Imported, Target
    from trimtab.retrieval.readers import Format

MOST_SHOWN = 20
"""Faults, and flagged documents, that are shown one by one."""


def import_file(target: "Target", path: Path, form: str | None, metadata: Mapping[str, Any]) -> int:
    """Put the documents of a file into a corpus; how many of its lines are none. `-` is the standard input."""
    from trimtab.retrieval.importing import import_records
    from trimtab.retrieval.readers import read_records

    chosen = _format(path, form)
    own = {"source": path.name, **metadata} if str(path) != "-" else dict(metadata)
    with _reading(path) as (file, progress):
        done = import_records(target, read_records(file, chosen), metadata=own, progress=progress)
    _tell(path, done)
    return len(done.errors)


def await_input() -> None:
    """Returns when there is something on the standard input, or its end."""
    if isinstance(sys.stdin.buffer, io.BufferedReader):
        sys.stdin.buffer.peek(1)


def _format(path: Path, given: str | None) -> "Format":
    """The format that was named, or that the file's name tells."""
    from trimtab.retrieval.readers import SUFFIXES, format_of

    if given is None:
        return "jsonl" if str(path) == "-" else format_of(path)
    known = dict.fromkeys(SUFFIXES.values())
    for form in known:
        if form == given:
            return form
    raise typer.BadParameter(f"--format {given!r}: allowed are {', '.join(known)}")


@contextmanager
def _reading(path: Path) -> Iterator[tuple[BinaryIO, Callable[[int], None]]]:
    """The open file, and what shows how many of its bytes are done."""
    from tqdm import tqdm

    if str(path) == "-":
        yield sys.stdin.buffer, lambda end: None
        return
    size = path.stat().st_size
    with path.open("rb") as file, tqdm(desc=path.name, total=size, unit="B", unit_scale=True, disable=None) as bar:

        def reached(end: int) -> None:
            bar.update(end - bar.n)

        yield file, reached


def _tell(path: Path, done: "Imported") -> None:
    """What became of the file: faults and flags on standard error, the count on standard output."""
    for fault in done.errors[:MOST_SHOWN]:
        warn(f"{path}:{fault.line}: {fault.reason}")
    for document, marks in list(done.flagged.items())[:MOST_SHOWN]:
        warn(f"{document} is stored as it is, but look at it: {', '.join(marks)}")
    for more, what in ((len(done.errors), "lines left out"), (len(done.flagged), "documents to look at")):
        if more > MOST_SHOWN:
            warn(f"{path}: {more} {what} in all")
    left_out = f", {len(done.errors)} lines left out" if done.errors else ""
    print(f"{path}: {done.added} added, {done.replaced} replaced{left_out}")
