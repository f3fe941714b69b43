"""The directory of a run: who may write there, and how its result appears in it whole."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from trimtab.artifacts.checkpoint import MANIFEST
from trimtab.training.errors import OutputError
from trimtab.training.settings import TrainSettings

CHECKPOINTS, METRICS, PLOT, PAGE, EVENTS = "checkpoints", "metrics.jsonl", "training.png", "report.html", "events"
LOCK, DRAFT, SETTINGS = ".trimtab.lock", ".result", "settings.json"
FREE = {"output", "threads", "save_total_limit", "logging_steps", "tensorboard", "reference_cache", "recompute_reference"}
"""Settings that a resumed run may have otherwise."""


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
    if resume and SETTINGS not in found:
        raise OutputError(f"output {str(folder)!r} holds no run to resume; leave out --resume to begin one")
    if resume and MANIFEST in found:
        raise OutputError(f"the run in {str(folder)!r} is finished; to train on, give its directory as the model of a new run")
    if not resume and found:
        shown = ", ".join(sorted(found)[:4])
        raise OutputError(f"output {str(folder)!r} is not empty ({shown}); give a new directory, or --resume to go on")


def same_run(folder: Path, settings: TrainSettings) -> None:
    """Note a run's settings, or check that a resumed one has those that it began with. Raises OutputError."""
    told = settings.model_dump(mode="json")
    file = folder / SETTINGS
    if not file.exists():
        file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return
    began = json.loads(file.read_text(encoding="utf-8"))
    other = [name for name in told if name not in FREE and told[name] != began.get(name)]
    if other:
        shown = "; ".join(f"{name} was {began.get(name)!r}, is {told[name]!r}" for name in other)
        raise OutputError(f"the run in {str(folder)!r} began with other settings ({shown}); resume it with the same")


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Put what `write` makes into the run's directory, each file whole. Raises OutputError; what was there then stays."""
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        write(draft)
        for path in sorted(draft.iterdir()):
            os.replace(path, folder / path.name)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"the result cannot be written to {str(folder)!r}: {error}; checkpoints stay") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
