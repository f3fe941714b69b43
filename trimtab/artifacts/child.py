"""A child process whose output is read line by line and that never outlives its caller's interest."""

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BREAK = re.compile(rb"[\r\n]+")
_KEPT_LINES = 40


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child ended."""

    returncode: int
    """Exit status; minus the signal number where a signal ended it."""
    tail: str
    """Its last lines of output, both streams together."""


def run_child(
    arguments: Sequence[str],
    *,
    on_line: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> ChildResult:
    """Run a command to its end, handing each line of its output to `on_line`.

    A carriage return ends a line too, so that progress bars arrive as they move. The child's standard input stays open
    as long as the caller lives. Whatever ends the call early (an exception in `on_line`, an interrupt) kills the child.
    environment: added to the caller's own.
    """
    with subprocess.Popen(
        list(arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        cwd=cwd,
    ) as child:
        assert child.stdout is not None and child.stdin is not None  # noqa: S101, PT018
        kept: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            rest = b""
            while chunk := os.read(child.stdout.fileno(), 65536):
                *lines, rest = _BREAK.split(rest + chunk)
                for line in lines:
                    text = line.decode("utf-8", "replace").strip()
                    if text:
                        on_line(text)
                        kept.append(text)
            if rest:
                kept.append(rest.decode("utf-8", "replace").strip())
            child.stdin.close()
            child.wait()
        except BaseException:
            child.kill()
            raise
    return ChildResult(child.returncode, "\n".join(kept))
