"""`trimtab serve` as a child process, and a program behind a terminal, for tests of the command line."""

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import trimtab

PACKAGE_PARENT = Path(trimtab.__file__).resolve().parent.parent
LONGEST_S = 60.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what would configure Trimtab, able to import the package under test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    return {**kept, "PYTHONPATH": str(PACKAGE_PARENT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **(extra or {})}


def run(*arguments: str, extra: Mapping[str, str] | None = None, text: str = "") -> subprocess.CompletedProcess[str]:
    """`trimtab ARGUMENTS` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "trimtab", *arguments],
        capture_output=True,
        text=True,
        input=text,
        env=environment(extra),
        timeout=LONGEST_S,
        check=False,
    )


@dataclass(slots=True)
class Served:
    """A running server."""

    process: subprocess.Popen[str]
    banner: str

    @property
    def url(self) -> str:
        """Its URL as the banner tells it, `/v1` included."""
        found = re.search(r"^\s*URL\s+(\S+)", self.banner, re.MULTILINE)
        assert found, self.banner
        return found[1]


@contextlib.contextmanager
def serving(*arguments: str, extra: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`trimtab serve ARGUMENTS`, once its banner is complete; ended by SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(extra),
    )
    try:
        yield Served(process, _banner(process))
    finally:
        process.terminate()
        process.wait(LONGEST_S)
        assert process.stdout is not None
        process.stdout.close()


def _banner(process: subprocess.Popen[str]) -> str:
    """Standard output up to the end of the example."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if '"messages"' in line:
            return "".join(lines)
    raise AssertionError(f"the server ended with {process.wait(LONGEST_S)} before it was ready: {''.join(lines)}")


class Terminal:
    """A program that runs behind a terminal of its own, so that Ctrl-C typed there reaches it as a signal."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        # A shell that runs the tests in the background has them ignore SIGINT, and children inherit that.
        code = (
            "import fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "signal.signal(signal.SIGINT, signal.default_int_handler); from trimtab.cli import main; main()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment({"TERM": "dumb"}),
            start_new_session=True,
        )
        os.close(slave)
        self._seen = ""

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._master, text.encode())

    def interrupt(self, wanted: str) -> str:
        """Press Ctrl-C and expect `wanted`. Pressed again where nothing comes: a signal between the prompt and the read behind
        it is heard with the next one only."""
        self.type("\x03")
        if not self._comes(wanted, 10.0):
            self.type("\x03")
        return self.expect(wanted)

    def _comes(self, wanted: str, seconds: float) -> bool:
        """Whether it is shown within so many seconds."""
        deadline = time.monotonic() + seconds
        while wanted not in self._seen:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return False
            try:
                self._seen += os.read(self._master, 4096).decode(errors="replace")
            except OSError as error:
                raise AssertionError(f"the program ended before {wanted!r}; shown: {self._seen!r}") from error
        return True

    def expect(self, wanted: str) -> str:
        """What is shown up to `wanted` and with it, since the last call."""
        assert self._comes(wanted, LONGEST_S), f"{wanted!r} did not come; shown: {self._seen!r}"
        head, _, self._seen = self._seen.partition(wanted)
        return head + wanted

    def ends(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait(LONGEST_S)

    def close(self) -> None:
        """End it where it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LONGEST_S)
        os.close(self._master)
