"""Private servers: real children with the scripted engine. They are shared, restarted, and never outlive their process."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trimtab
from trimtab import AsyncOpenAI, OpenAI
from trimtab.server.client import LocalServerError
from trimtab.server.client.local import SERVERS, LocalServer, ServerSpec

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]
SCRIPT = """
from trimtab import OpenAI

client = OpenAI(model="m", engine="scripted")
answer = client.chat.completions.create(messages=[{"role": "user", "content": "hi"}], alignment="value_prompt")
print(answer.alignment.status, client._server.pid, client._server.socket_path.parent, flush=True)
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("TRIMTAB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TRIMTAB_API_KEY", "a-key-of-a-public-server")


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    with OpenAI(model="m", engine="scripted") as client:
        yield client
    SERVERS.stop()


def run(script: str, **options: Any) -> "subprocess.Popen[str]":
    home = str(Path(trimtab.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": home}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, text=True, env=environment, **options)


def wait_for_end(pid: int, timeout_s: float = 20.0) -> bool:
    """Whether a process that is not our child ends in time."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)


def test_clients_of_one_process_share_a_server(client: OpenAI) -> None:
    others: list[OpenAI] = []
    threads = [threading.Thread(target=lambda: others.append(OpenAI(model="m", engine="scripted"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {other._server.pid for other in others if other._server} == {client._server.pid if client._server else None}
    assert all(other.chat.completions.create(messages=MESSAGES).choices[0].message.content for other in others)
    for other in others:
        other.close()


async def test_async_clients_stream_from_it_without_blocking_the_loop(client: OpenAI) -> None:
    async with AsyncOpenAI(model="m", engine="scripted") as aclient:
        assert aclient._server is client._server
        chunks = await aclient.chat.completions.create(messages=MESSAGES, stream=True, alignment="value_prompt")
        alignments = [chunk.alignment async for chunk in chunks]
    assert [alignment.status for alignment in alignments if alignment] == ["applied"]


async def test_an_async_client_does_not_wait_in_its_constructor() -> None:
    async with AsyncOpenAI(model="another", engine="scripted") as aclient:
        assert aclient._server is not None
        assert not aclient._server.is_ready
        answers = await asyncio.gather(*(aclient.chat.completions.create(messages=MESSAGES) for _ in range(3)))
        assert [answer.model for answer in answers] == ["another"] * 3
        aclient._server.stop()


def test_a_server_that_dies_is_started_anew(client: OpenAI) -> None:
    server = client._server
    assert server is not None
    assert server.pid is not None
    before = server.pid
    os.kill(before, signal.SIGKILL)
    assert wait_for_end(before)
    assert client.chat.completions.create(messages=MESSAGES).choices[0].message.content
    assert server.pid != before


def test_without_a_model_the_servers_first_is_used(tmp_path: Path) -> None:
    config = tmp_path / "trimtab.yaml"
    config.write_text("models: {mine: {engine: {kind: scripted, answers: [from the file]}}}")
    with OpenAI(config=config) as client:
        answer = client.chat.completions.create(messages=MESSAGES)
        assert (answer.model, answer.choices[0].message.content) == ("mine", "from the file")
        assert client._server is not None
        client._server.stop()


def test_a_server_that_cannot_start_says_why_at_once(tmp_path: Path) -> None:
    config = tmp_path / "trimtab.yaml"
    config.write_text("modles: {}")
    with pytest.raises(LocalServerError, match="modles") as caught:
        OpenAI(config=config)
    assert "ended with status" in str(caught.value)


def test_progress_is_told_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    server = LocalServer(ServerSpec("told", "scripted"))
    server.ready()
    server.stop()
    assert not server.socket_path.parent.exists()
    told = capfd.readouterr().err
    assert "starting a private server for told" in told
    assert "ready in" in told


def test_a_script_without_a_main_guard_leaves_nothing_behind() -> None:
    process = run(SCRIPT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    status, pid, directory = out.split()
    assert status == "applied"
    assert wait_for_end(int(pid))
    assert not Path(directory).exists()


def test_a_killed_process_leaves_no_server_behind() -> None:
    process = run(SCRIPT + "input()", stdin=subprocess.PIPE)
    assert process.stdout is not None
    _, pid, _ = process.stdout.readline().split()
    process.kill()
    process.communicate()
    assert wait_for_end(int(pid))
