"""A Python module run in a child process that is read line by line and never outlives its caller."""

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BREAK = re.compile(rb"[\r\n]+")
_KEPT_LINES = 40
_PACKAGE_PARENT = Path(__file__).absolute().parents[2]


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child ended."""

    returncode: int
    """Exit status; minus the signal number where a signal ended it."""
    tail: str
    """Its last lines of output, both streams together."""


def run_module(
    module: str,
    arguments: Sequence[str],
    *,
    on_line: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> ChildResult:
    """Run `python -m module arguments...` to its end, handing each line of its output to `on_line`.

    A carriage return ends a line too, so that progress bars arrive as they move. Whatever ends the call early (an
    exception in `on_line`, an interrupt) kills the child, and the death of the caller ends it too.
    environment: added to the caller's own.
    """
    search = os.pathsep.join(filter(None, [str(_PACKAGE_PARENT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-m", "trimtab.artifacts.guarded", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": search, **(environment or {})},
    ) as child:
        assert child.stdout is not None
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
            child.wait()
        except BaseException:
            child.kill()
            raise
    return ChildResult(child.returncode, "\n".join(kept))
