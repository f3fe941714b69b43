"""The metrics of a run: one JSON object a line, each with its `step`.

A line exists once its newline is written; what follows the last newline is left of a write that was cut off and is neither read
nor kept. The module knows neither trainer nor picture. Names that the plot and the warnings look for:

- `loss`, `accuracy`, `margin` of training steps; `eval_loss`, `eval_accuracy`, `eval_margin` of evaluations,
  `eval_accuracy_low` and `eval_accuracy_high` its interval, `eval_length_accuracy` what "the shorter answer wins" scores;
- of online runs `reward`, `kl` (nats a sequence), `length` (tokens an answer), `eos_rate` (share of answers that ended by
  themselves) and `entropy` (nats a token).
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trimtab.training.errors import DataError, OutputError
from trimtab.training.reports.files import write_whole

Scalar = str | int | float | bool | None
Metrics = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class MetricsFile:
    """Where a run writes its metrics; every call opens and closes the file, so a killed run loses no whole line."""

    path: Path

    def append(self, row: Metrics) -> None:
        """Adds a line, whole or not at all; numbers that are not finite become null.

        row: `step` (an integer from 0) and any other scalars. Raises OutputError where the disk takes no more.
        """
        _checked_step(row, "a row to append")
        line = _line(row)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b", buffering=0) as file:
                file.truncate(_whole_bytes(file))
                written = file.write(line)
        except OSError as error:
            raise OutputError(f"cannot write metrics to {self.path}: {error.strerror}") from error
        if written != len(line):
            raise OutputError(f"cannot write metrics to {self.path}: only {written} of {len(line)} bytes were taken")

    def resume_at(self, step: int) -> int:
        """Number of rows dropped, those of steps after `step`: a run resumed there writes them again.

        The file is replaced at once, so an interruption leaves the old rows or the new ones. Resuming twice equals once.
        """
        rows = read_metrics(self.path) if self.path.exists() else []
        kept = [row for row in rows if _checked_step(row, str(self.path)) <= step]
        if len(kept) < len(rows):
            write_whole(self.path, b"".join(map(_line, kept)))
        return len(rows) - len(kept)


def read_metrics(path: Path) -> list[dict[str, Scalar]]:
    """Rows of a metrics file in the order written; a torn last line is left out.

    Raises DataError, naming the line, for anything else that is no JSON object, or where the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read metrics from {path}: {error.strerror}") from error
    *lines, _torn = content.split(b"\n")
    return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def rows_with(rows: Iterable[Metrics], *names: str) -> list[Metrics]:
    """The rows in which each of the names holds a finite number."""
    return [row for row in rows if all(_is_finite(row.get(name)) for name in names)]


def series(rows: Iterable[Metrics], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric, in order; rows that lack it, or hold no finite number there, are passed over."""
    found = rows_with(rows, name)
    return [_checked_step(row, "a row of metrics") for row in found], [float(row[name] or 0) for row in found]


def _is_finite(value: Scalar) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _line(row: Metrics) -> bytes:
    finite = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
    return json.dumps(finite, allow_nan=False).encode() + b"\n"


def _parsed(line: bytes, place: str) -> dict[str, Scalar]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place}: no JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: no JSON object")
    return row


def _checked_step(row: Metrics, place: str) -> int:
    step = row.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise DataError(f"{place}: `step` must be an integer from 0, not {step!r}")
    return step


def _whole_bytes(file: IO[bytes]) -> int:
    """Length of the file up to and with its last newline."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
