"""Real servers for the contract suites: `python -m trimtab serve` as a child process on a free port of loopback."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

START_S = 240.0


@dataclass(frozen=True, slots=True)
class Live:
    """A server that answers."""

    url: str
    model: str
    engine: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def base_url(self) -> str:
        """What OpenAI's clients take."""
        return f"{self.url}/v1"

    def get(self, path: str) -> Any:
        """The JSON of a path."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """The JSON answer to a JSON body; error bodies too."""
        return self.exchange(path, body, **headers)[1]

    def exchange(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@contextlib.contextmanager
def serving(config: dict[str, Any], *, start_s: float = START_S) -> Iterator[Live]:
    """A server of this configuration, ready; ended with SIGTERM."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "trimtab.yaml"), Path(folder, "log")
        settings = {"http": {"host": "127.0.0.1", "port": 0}, "data_dir": folder, **config}
        file.write_text(yaml.safe_dump(settings))
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "trimtab", "serve", "--config", str(file)],
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
            )
        try:
            url = _url(process, log, start_s)
            model = next(iter(config["models"]))
            yield Live(url, model, config["models"][model]["engine"]["kind"], process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _url(process: "subprocess.Popen[bytes]", log: Path, start_s: float) -> str:
    """The address in the banner, which stands there once the server is ready."""
    end = time.monotonic() + start_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        if found := re.search(r"URL\s+(http://127\.0\.0\.1:\d+)/v1", log.read_text()):
            return found.group(1)
        time.sleep(0.05)  # another process's output: there is no event to wait for
    raise RuntimeError(f"the server was not ready after {start_s} s:\n{log.read_text()[-4000:]}")
