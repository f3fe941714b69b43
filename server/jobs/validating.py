"""The input of a batch: checked whole before it begins, then read again a portion at a time. Blocking; holds few lines."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from trimtab.server.jobs.records import LineFault
from trimtab.server.lines.request import BadLine, RequestLine, parse_line, read_lines
from trimtab.server.wire import Endpoint

MAX_FAULTS = 100
"""Faults a batch tells; reading ends there."""
PORTION, PORTION_BYTES = 64, 1 << 20
"""Lines that are read in one go, and bytes after which a portion ends."""


class LineTooLong(ValueError):
    """A line is longer than a request may be."""

    def __init__(self, number: int, most: int) -> None:
        super().__init__(f"the line is longer than {most / (1 << 20):g} MiB (limits.body_mib)")
        self.number = number


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file holds."""

    total: int
    """Lines that are not blank; of a file with faults, those that were read."""
    model: str | None
    """The one that all lines name."""
    faults: tuple[LineFault, ...]


def check(file: BinaryIO, *, endpoint: Endpoint, most: int, line_bytes: int) -> Checked:
    """What a file holds, and why it cannot be a batch for this endpoint.

    most: lines it may have. line_bytes: bytes a line may have.
    """
    seen = _Seen(most)
    try:
        for line in read_lines(raw_lines(file, line_bytes), endpoint=endpoint):
            seen.take(line)
            if len(seen.faults) >= MAX_FAULTS or seen.total > most:
                break
    except LineTooLong as error:
        seen.faults.append(LineFault("line_too_large", str(error), error.number))
    if not seen.total and not seen.faults:
        seen.faults.append(LineFault("empty_file", "the file has no lines"))
    return Checked(seen.total, seen.model if seen.agree else None, tuple(seen.faults[:MAX_FAULTS]))


class _Seen:
    """What was seen of a file so far."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.total = 0
        self.faults: list[LineFault] = []
        self.model: str | None = None
        self.agree = True

    def take(self, line: RequestLine | BadLine) -> None:
        """Look at the next line."""
        self.total += 1
        if self.total > self._most:
            message = f"the file has more than {self._most} lines (jobs.lines); split it"
            self.faults.insert(0, LineFault("too_many_lines", message, line.number))
        elif isinstance(line, BadLine):
            self.faults.append(LineFault(line.code, line.message, line.number, line.param))
        else:
            self._compare(line.body.get("model"))

    def _compare(self, model: object) -> None:
        named = model if isinstance(model, str) and model.isprintable() else None  # PostgreSQL keeps no NUL
        if self.total == 1:
            self.model = named
        self.agree = self.agree and named == self.model


def raw_lines(file: BinaryIO, most: int) -> Iterator[bytes]:
    """Each line. Raises LineTooLong for one of more than `most` bytes."""
    number = 0
    while raw := file.readline(most + 1):
        number += 1
        if len(raw) > most:
            raise LineTooLong(number, most)
        yield raw


class Remaining:
    """The lines of a checked file that have no result yet.

    answered: numbers of those that have one.
    """

    def __init__(self, file: BinaryIO, *, endpoint: Endpoint, answered: set[int]) -> None:
        self._file = file
        self._lines = enumerate(file, start=1)
        self._endpoint = endpoint
        self._answered = answered

    def portion(self) -> list[RequestLine | BadLine]:
        """The next lines, few of them; empty at the end. A line is bad only where the settings changed after the check."""
        found: list[RequestLine | BadLine] = []
        size = 0
        for number, raw in self._lines:
            if number in self._answered or not raw.strip():
                continue
            found.append(parse_line(raw, number, endpoint=self._endpoint))
            size += len(raw)
            if len(found) >= PORTION or size >= PORTION_BYTES:
                break
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()
