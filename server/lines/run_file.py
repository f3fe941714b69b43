"""What a run was told, kept beside its output, so that another run does not go on with it by mistake; and its lock."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimtab.server.lines.errors import OutputRefused

VERSION = 1
MOST_SHOWN = 8
"""Differences that are told one by one."""


def run_file(output: Path) -> Path:
    """Where an output's run is described."""
    return output.with_name(f"{output.name}.run.json")


def write_run(output: Path, run: Mapping[str, Any]) -> None:
    """Keep what a run was told; atomic."""
    beside = run_file(output).with_suffix(".tmp")
    beside.write_text(json.dumps({"version": VERSION, **run}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, run_file(output))


def check_same(output: Path, run: Mapping[str, Any]) -> None:
    """Raise OutputRefused where the output is of a run that was told something else; the message says what differs."""
    try:
        before = json.loads(run_file(output).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputRefused(
            f"{output}: what it was made with is unknown, because {run_file(output).name} is missing; --overwrite begins anew"
        ) from None
    except ValueError as error:
        raise OutputRefused(f"{run_file(output)}: {error}; --overwrite begins anew") from None
    told = differences(before, {"version": VERSION, **json.loads(json.dumps(run))})
    if told:
        shown = "; ".join(told[:MOST_SHOWN]) + (f"; and {len(told) - MOST_SHOWN} more" if len(told) > MOST_SHOWN else "")
        raise OutputRefused(f"{output} was made with something else: {shown}. Choose another output, or --overwrite this one")


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """Each place where two JSON values differ, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = dict.fromkeys((*before, *now))
        return [
            told
            for name in names
            for told in differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
        ]
    return [] if before == now else [f"{path} was {json.dumps(before)}, now {json.dumps(now)}"]


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """The output is this process's inside the block. Raises OutputRefused where another one writes it."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{output}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputRefused(f"{output} is being written by another process") from None
    try:
        yield
    finally:
        lock.release()
