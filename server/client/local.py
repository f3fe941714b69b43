"""The private server of a process: `trimtab serve` as a child on a Unix socket, shared by clients of the same settings.

Nothing of an engine lives in the caller, so scripts without a main guard, notebooks and threads are all fine. The child ends
with the process: in order at exit, and through a pipe that breaks when the process is killed.
"""

import atexit
import os
import shutil
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx2
from openai import OpenAIError

import trimtab
from trimtab.server.client.child import PARENT_FD

START_TIMEOUT_S = 1800.0
"""Longest start, the download of a model included."""
LONGEST_PAUSE_S = 0.25
"""Longest pause between two questions whether the child is ready; its end is noticed at once."""
STOP_S = 10.0
"""How long the child may take to end before it is killed."""
LINES_KEPT = 30
"""Lines of the child's output that an error shows."""
LONGEST_SOCKET_PATH = 100
"""Characters of a socket's path that every system takes."""
ORIGIN = "http://localhost"
"""Scheme and host of URLs over the socket."""
NOT_INHERITED = frozenset(
    f"TRIMTAB_{name}"
    for name in (
        *("API_KEY", "HOST", "PORT", "UDS", "CONFIG", "ALIGN", "ROLE"),
        *("MODEL", "ENGINE", "UPSTREAM", "UPSTREAM_API_KEY", "SERVED_MODEL_NAME"),
    )
)
"""Variables that configure a public server; a private one is told everything by its client."""


class LocalServerError(OpenAIError):
    """The private server could not be started, or ended; the message holds the end of its output."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What a private server runs; clients with equal ones share it."""

    model: str | None = None
    engine: str | None = None
    config: str | None = None

    def command(self, socket_path: Path) -> list[str]:
        """The command line of the child."""
        flags = [("--engine", self.engine), ("--config", self.config), ("--uds", str(socket_path))]
        given = [part for name, value in flags if value is not None for part in (name, value)]
        return [sys.executable, "-P", "-m", "trimtab", "serve", *([self.model] if self.model else []), *given]

    def __str__(self) -> str:
        return self.model or (f"the models of {self.config}" if self.config else "the default model")


class LocalServer:
    """One child. `ready` may be called from any thread; a child that has died is started anew."""

    def __init__(self, spec: ServerSpec) -> None:
        self.spec = spec
        self._directory = _short_directory()
        self.socket_path = self._directory / "server.sock"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._output: deque[str] = deque(maxlen=LINES_KEPT)
        self._reader: threading.Thread | None = None
        self._ready = False
        self.default_model: str | None = None
        """The first model the child lists; None before it serves, and where the list takes a key."""

    @property
    def is_ready(self) -> bool:
        """Whether the child serves, as far as is known without asking it."""
        return self._ready and self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the child; None before it was started."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the child unless it runs; does not wait for it."""
        with self._lock:
            self._start()

    def ready(self) -> None:
        """Return once the child serves. Raises LocalServerError where it ends, or takes too long."""
        if self.is_ready:
            return
        with self._lock:
            self._start()
            if not self._ready:
                self._wait()

    def stop(self) -> None:
        """End the child and remove its socket."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()
                try:
                    self._process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            self._forget()
            shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._forget()
        self.socket_path.unlink(missing_ok=True)
        read_end, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                self.spec.command(self.socket_path),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(read_end),
                pass_fds=(read_end,),
                start_new_session=True,
            )
        finally:
            os.close(read_end)
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), name="server-output", daemon=True)
        self._reader.start()

    def _forget(self) -> None:
        """Leave a child that has ended."""
        self._ready = False
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._reader is not None:
            self._reader.join(1.0)
        self._output.clear()

    def _read(self, output: IO[bytes]) -> None:
        """Keep the last lines of the child's output; progress bars redraw theirs with a carriage return."""
        with output:
            rest = ""
            while chunk := os.read(output.fileno(), 8192):
                *lines, rest = (rest + chunk.decode("utf-8", "replace")).replace("\r", "\n").split("\n")
                self._output.extend(line for line in lines if line.strip())
            self._output.extend([rest] if rest.strip() else [])

    def _wait(self) -> None:
        assert self._process is not None
        began, pause = time.monotonic(), 0.02
        progress = _Progress(f"trimtab: starting a private server for {self.spec}")
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(self.socket_path)), timeout=5.0) as client:
            while not self._answers(client):
                elapsed = time.monotonic() - began
                if elapsed > START_TIMEOUT_S:
                    raise LocalServerError(self._report(f"was not ready after {START_TIMEOUT_S:.0f} s"))
                progress.show(elapsed, self._output[-1] if self._output else "")
                try:
                    code = self._process.wait(pause)
                except subprocess.TimeoutExpired:
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                else:
                    raise LocalServerError(self._report(f"ended with status {code}"))
            self.default_model = self._first_model(client)
        self._ready = True
        progress.done(time.monotonic() - began)

    def _answers(self, client: httpx2.Client) -> bool:
        """Whether the child says that it serves; it listens before it does, and is not asked before it listens."""
        try:
            return self.socket_path.exists() and client.get(f"{ORIGIN}/readyz").is_success
        except httpx2.TransportError:
            return False

    @staticmethod
    def _first_model(client: httpx2.Client) -> str | None:
        answer = client.get(f"{ORIGIN}/v1/models")
        return str(answer.json()["data"][0]["id"]) if answer.is_success else None

    def _report(self, what: str) -> str:
        if self._reader is not None:
            self._reader.join(1.0)
        said = "\n".join(self._output)
        return f"the private server for {self.spec} {what}" + (f"; its last output:\n{said}" if said else "")


class _Progress:
    """A line on the terminal that is redrawn, or two lines where there is none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._redraws = sys.stderr.isatty()
        sys.stderr.write(text + ("" if self._redraws else "\n"))
        sys.stderr.flush()

    def show(self, elapsed_s: float, last_line: str) -> None:
        """Redraw the line."""
        if self._redraws:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\x1b[K" + f"{self._text} ({elapsed_s:.0f} s) {last_line}"[:width])
            sys.stderr.flush()

    def done(self, elapsed_s: float) -> None:
        """Say that it is over."""
        sys.stderr.write(f"\r\x1b[K{self._text}" if self._redraws else "trimtab: private server")
        sys.stderr.write(f": ready in {elapsed_s:.1f} s\n")
        sys.stderr.flush()


class _Servers:
    """The private servers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[ServerSpec, LocalServer] = {}
        self._owner = 0

    def get(self, spec: ServerSpec) -> LocalServer:
        """The server of these settings, not necessarily started."""
        with self._lock:
            if not self._owner:
                self._owner = os.getpid()
                atexit.register(self.stop)
            if spec not in self._servers:
                self._servers[spec] = LocalServer(spec)
            return self._servers[spec]

    def stop(self) -> None:
        """End them all; in a fork of the owner nothing happens."""
        if os.getpid() == self._owner:
            with self._lock:
                for server in self._servers.values():
                    server.stop()
                self._servers.clear()


SERVERS = _Servers()


def _environment(parent_fd: int) -> dict[str, str]:
    """The child's environment: it finds the same package, and the pipe."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    home = str(Path(trimtab.__file__).resolve().parent.parent)
    if home not in site.getsitepackages():
        kept["PYTHONPATH"] = os.pathsep.join(part for part in (home, kept.get("PYTHONPATH", "")) if part)
    return {**kept, PARENT_FD: str(parent_fd)}


def _short_directory() -> Path:
    """A directory of our own whose path leaves room for a socket's name."""
    directory = Path(tempfile.mkdtemp(prefix="trimtab-"))
    if len(str(directory)) <= LONGEST_SOCKET_PATH - len("/server.sock"):
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix="trimtab-", dir="/tmp"))
