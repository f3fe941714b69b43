"""The directory of a run: who may write there, and how its result appears in it whole."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from trimtab.training.errors import OutputError

CHECKPOINTS, METRICS, PLOT, PAGE, EVENTS = "checkpoints", "metrics.jsonl", "training.png", "report.html", "events"
LOCK, DRAFT = ".trimtab.lock", ".result"
OWN = {CHECKPOINTS, METRICS, LOCK, EVENTS, DRAFT}
"""What a run that has not finished may have left."""


@contextmanager
def workspace(folder: Path, *, resume: bool) -> Iterator[Path]:
    """The directory, held by this process alone.

    Raises OutputError where it is in use, holds other files or nothing to resume.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output {str(folder)!r} cannot be made: {error.strerror}") from error
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(f"output {str(folder)!r} is in use by another run; give each run its own directory") from None
    try:
        _check(folder, resume)
        yield folder
    finally:
        lock.release()


def _check(folder: Path, resume: bool) -> None:
    found = {path.name for path in folder.iterdir()} - {LOCK}
    if resume and not found:
        raise OutputError(f"output {str(folder)!r} holds no run to resume; leave out --resume to begin one")
    if not resume and found:
        shown = ", ".join(sorted(found)[:4])
        raise OutputError(f"output {str(folder)!r} is not empty ({shown}); give a new directory, or --resume to go on")


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Put what `write` makes into the run's directory, each file whole. Raises OutputError; what was there then stays."""
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        write(draft)
        for path in sorted(draft.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise OutputError(f"the result cannot be written to {str(folder)!r}: {error}; checkpoints stay") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
