"""The process: addresses, the start, signals."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from trimtab.server.run import CannotListen, bind, url_of
from trimtab.server.settings import HttpConfig

CHILD = """
import sys
from trimtab.server.run import serve
from trimtab.server.settings import Settings

if __name__ == "__main__":
    engine = {"kind": "scripted", "tokens_per_s": 10}
    settings = {"models": {"m": {"engine": engine}}, "http": {"port": 0}, "limits": {"drain_s": float(sys.argv[1])}}
    serve(Settings.model_validate(settings), on_ready=lambda url, service: print(url, flush=True))
"""


def asked(text: str) -> dict[str, object]:
    """A request whose answer repeats the text, ten tokens a second."""
    return {"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]}


SHORT, LONG = asked("one two"), asked("one two three " * 100)


@contextmanager
def child(tmp_path: Path, drain_s: float) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server process and its URL."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen([sys.executable, str(script), str(drain_s)], stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def streaming(url: str, body: dict[str, object]) -> tuple[threading.Thread, list[str]]:
    """A request that is being answered: its thread and its lines."""
    lines: list[str] = []
    begun = threading.Event()

    def ask() -> None:
        with (
            suppress(httpx.RemoteProtocolError),
            httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer,
        ):
            for line in answer.iter_lines():
                lines.append(line)
                begun.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert begun.wait(30)
    return thread, lines


def test_drain_lets_running_answers_end_and_refuses_new_ones(tmp_path: Path) -> None:
    with child(tmp_path, 30) as (process, url):
        thread, lines = streaming(url, SHORT)
        process.send_signal(signal.SIGTERM)
        while httpx.get(f"{url}/readyz").status_code == 200:
            time.sleep(0.01)
        refused = httpx.post(f"{url}/v1/chat/completions", json=SHORT)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert process.wait(30) == 0
        thread.join(5)
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert not any('"error"' in line for line in lines)


def test_what_does_not_end_in_time_is_aborted(tmp_path: Path) -> None:
    with child(tmp_path, 0.1) as (process, url):
        thread, lines = streaming(url, LONG)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        thread.join(5)
        assert "shutting down" in [line for line in lines if line][-2]


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with child(tmp_path, 60) as (process, url):
        thread, _ = streaming(url, LONG)
        process.send_signal(signal.SIGTERM)
        while httpx.get(f"{url}/readyz").status_code == 200:
            time.sleep(0.01)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert time.monotonic() - begin < 6
        thread.join(5)


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=f"port {port} on 127.0.0.1 is in use.*--port"):
            bind(HttpConfig(port=port))


def test_no_address_of_this_machine() -> None:
    for host in ("no-such-host.invalid", "192.0.2.1"):
        with pytest.raises(CannotListen, match=host):
            bind(HttpConfig(host=host))


def test_any_free_port() -> None:
    http = HttpConfig(port=0)
    with bind(http) as listener:
        assert url_of(http, listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_unix_socket_is_for_its_owner_and_replaces_a_dead_one(tmp_path: Path) -> None:
    http = HttpConfig(uds=tmp_path / "s")
    with bind(http) as listener:
        assert url_of(http, listener) == f"unix:{tmp_path / 's'}"
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        with pytest.raises(CannotListen, match="another server"):
            bind(http)
    with bind(http):
        pass


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(CannotListen, match="is no socket"):
        bind(HttpConfig(uds=tmp_path / "s"))
    assert (tmp_path / "s").read_text() == "mine"
