"""A small process that ends an engine's processes when this server dies without having done so (SIGKILL, out of memory)."""

import subprocess
import sys
from collections.abc import Iterable

_PROGRAM = """
import os, signal, sys
sys.stdin.read()
for process in sys.argv[1:]:
    try:
        os.kill(int(process), signal.SIGKILL)
    except OSError:
        pass
"""


class Guard:
    """Waits for the end of this process; it holds the reading end of a pipe that closes with it."""

    def __init__(self, processes: Iterable[int]) -> None:
        """processes: ids to kill."""
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, *map(str, processes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The processes have been ended in order: nothing is left to do."""
        self._guard.kill()
        self._guard.communicate()
