"""Servers under measurement: Trimtab and vLLM's own, with the same engine settings, as child processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

MODEL = "smollm2-135m-instruct"
MAX_MODEL_LEN = 2048
KV_CACHE_GIB = 0.5
START_TIMEOUT_S = 300.0
HOST = "127.0.0.1"


def engine_flags() -> list[str]:
    """What Trimtab starts vLLM with on CPU, in words of vLLM's own server."""
    return [
        "--max-model-len", str(MAX_MODEL_LEN),
        "--dtype", "bfloat16",
        "--kv-cache-memory-bytes", str(int(KV_CACHE_GIB * 2**30)),
        "--block-size", "32",
        "--enforce-eager",
        "--no-enable-chunked-prefill",
        "--max-num-batched-tokens", str(MAX_MODEL_LEN),
        "--scheduling-policy", "priority",
        "--enable-prompt-tokens-details",
        "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
        "--disable-uvicorn-access-log",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """The same for both: all cores for the engine, quiet, offline."""
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    return {
        **{name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
        "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", cores),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def trimtab_command(port: int, engine: str = "vllm", config: Path | None = None) -> list[str]:
    """`trimtab serve` with the benchmark's settings."""
    command = [sys.executable, "-m", "trimtab", "serve", MODEL, "--engine", engine, "--port", str(port)]
    command += ["--max-model-len", str(MAX_MODEL_LEN), "--dtype", "bfloat16", "--log-level", "warning"]
    return command if config is None else [*command, "--config", str(config)]


def trimtab_config(directory: Path) -> Path:
    """A file with the settings that have no flag."""
    engine = {"kind": "vllm", "max_model_len": MAX_MODEL_LEN, "dtype": "bfloat16", "kv_cache_gib": KV_CACHE_GIB}
    path = directory / "trimtab.yaml"
    path.write_text(json.dumps({"models": {MODEL: {"source": MODEL, "engine": engine}}}))
    return path


def vllm_command(port: int, model: Path) -> list[str]:
    """vLLM's own API server with the same settings."""
    entry = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    return [*entry, "--model", str(model), "--served-model-name", MODEL, "--host", HOST, "--port", str(port), *engine_flags()]


def _leave(number: int, frame: object) -> None:
    """End the benchmark in order, so that it ends its servers."""
    raise SystemExit(128 + number)


@dataclass
class Server:
    """A server process and its children."""

    name: str
    command: list[str]
    port: int
    ready_path: str = "/health"
    started_s: float = 0.0
    """Seconds from the process' start until it answered that it is ready."""
    _process: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> "Server":
        signal.signal(signal.SIGTERM, _leave)
        begin = time.perf_counter()
        log = tempfile.TemporaryFile()  # read when the start fails
        self._process = subprocess.Popen(
            self.command, env=environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while not self._is_ready():
                if self._process.poll() is not None or time.perf_counter() - begin > START_TIMEOUT_S:
                    log.seek(0)
                    raise RuntimeError(f"{self.name} did not start:\n{log.read().decode()[-3000:]}")
                time.sleep(0.02)  # another process's readiness: there is no event to wait for
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.started_s = time.perf_counter() - begin
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        family = self._family()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        self._process.wait(10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The server is stopped inside the block, so that it takes nothing from the one that is measured."""
        family = self._family()
        for process in family:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in reversed(family):
                process.send_signal(signal.SIGCONT)

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}{self.ready_path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
