"""`trimtab batch` as its user meets it: answers, kills, resuming, refusals."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.cli.serving import LONGEST_S, environment, serving
from tests.server.lines.files import contents, request, rows_of, write_lines
from tests.waiting import until
from trimtab.cli.app import app

SCRIPTED = ("--engine", "scripted")
SLOW = "models: {m: {engine: {kind: scripted, tokens_per_s: 100}}}"
"""About 0.2 s a line."""


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command configures logging for its process, which here is that of all tests."""
    root, ours = logging.getLogger(), logging.getLogger("trimtab")
    before = root.handlers[:], root.level, ours.level
    monkeypatch.delenv("TRIMTAB_DATA_DIR", raising=False)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def make_input(folder: Path, count: int = 12) -> Path:
    return write_lines(folder / "in.jsonl", [request(f"r{number}", f"question {number}") for number in range(count)])


def answer(source: Path, output: Path, *more: str, engine: tuple[str, ...] = SCRIPTED) -> Result:
    """`trimtab batch` in this process; an error that it does not expect is raised."""
    return CliRunner().invoke(app, ["batch", str(source), "-o", str(output), *engine, *more], catch_exceptions=False)


def started(source: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    """`trimtab batch` as a process that has written some rows."""
    command = [sys.executable, "-m", "trimtab", "batch", str(source), "-o", str(output), *more]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)

    assert process.stderr is not None
    assert "starting the scripted engine" in process.stderr.readline()

    def has_rows() -> bool:
        assert process.poll() is None
        return output.exists() and output.read_bytes().count(b"\n") > 2

    asyncio.run(until(has_rows))
    return process


def test_every_line_is_answered(tmp_path: Path) -> None:
    source, output = make_input(tmp_path), tmp_path / "out.jsonl"
    done = answer(source, output, "--align", "value_prompt")
    assert done.exit_code == 0, done.stderr
    rows = rows_of(output)
    assert sorted(row["custom_id"] for row in rows) == sorted(f"r{number}" for number in range(12))
    assert {row["response"]["body"]["alignment"]["status"] for row in rows} == {"applied"}
    assert "12 of 12 lines answered" in done.stderr


def test_bad_lines_are_rows_and_exit_1(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [request("a"), "no json", request("a"), request("c", model="nobody")])
    done = answer(source, tmp_path / "out.jsonl")
    assert done.exit_code == 1
    assert len(rows_of(tmp_path / "out.jsonl")) == 4
    assert "3 of them errors" in done.stderr
    assert "line 2" in done.stderr
    assert "nobody" in done.stderr
    again = answer(source, tmp_path / "out.jsonl", "--resume")
    assert again.exit_code == 1
    assert "4 of 4 lines answered, 3 of them errors" in again.stderr
    assert len(rows_of(tmp_path / "out.jsonl")) == 4


def test_a_killed_run_goes_on_and_answers_each_line_once(tmp_path: Path) -> None:
    source, output = make_input(tmp_path, 60), tmp_path / "out.jsonl"
    slow = tmp_path / "slow.yaml"
    slow.write_text(SLOW)
    process = started(source, output, "--config", str(slow), "--concurrency", "2")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LONGEST_S)
    before = output.read_bytes()
    with output.open("ab") as file:
        file.write(before.splitlines()[0][:50])  # a torn row, as a kill within a write leaves it
    done = answer(source, output, "--config", str(slow), "--resume", engine=())
    assert done.exit_code == 0, done.stderr
    assert output.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert sorted(row["custom_id"] for row in rows_of(output)) == sorted(f"r{number}" for number in range(60))


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    source, output = make_input(tmp_path, 60), tmp_path / "out.jsonl"
    slow = tmp_path / "slow.yaml"
    slow.write_text(SLOW)
    process = started(source, output, "--config", str(slow), "--concurrency", "2")
    process.terminate()
    _, told = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 143
    assert "--resume goes on" in told
    assert "Traceback" not in told


def test_failures_that_may_pass_are_answered_again(tmp_path: Path) -> None:
    source, output = make_input(tmp_path, 3), tmp_path / "out.jsonl"
    assert answer(source, output).exit_code == 0
    rows = rows_of(output)
    rows[1] = {**rows[1], "response": {"status_code": 503, "request_id": "", "body": {"error": {"message": "m", "code": "c"}}}}
    write_lines(output, rows)
    done = answer(source, output, "--resume")
    assert done.exit_code == 0, done.stderr
    assert [row["response"]["status_code"] for row in rows_of(output)] == [200, 200, 200]


def test_an_existing_output_is_not_touched_by_mistake(tmp_path: Path) -> None:
    source, output = make_input(tmp_path, 2), tmp_path / "out.jsonl"
    assert answer(source, output).exit_code == 0
    before = output.read_bytes()
    refused = answer(source, output)
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    other = answer(source, output, "--resume", "--align", "value_prompt")
    assert other.exit_code == 2
    assert 'alignment was null, now "value_prompt"' in other.stderr
    wrong = answer(source, output, "--overwrite", "--align", "value_promt")
    assert wrong.exit_code == 2
    write_lines(source, [request("z")])
    changed = answer(source, output, "--resume")
    assert changed.exit_code == 2
    assert "input_sha256" in changed.stderr
    assert output.read_bytes() == before
    assert answer(source, output, "--overwrite").exit_code == 0
    assert [row["custom_id"] for row in rows_of(output)] == ["z"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_devices_and_folders_are_refused(tmp_path: Path) -> None:
    """A pipe gives its lines once and they are read twice; an output is replaced, as a device must never be."""
    source, pipe = make_input(tmp_path, 1), tmp_path / "pipe"
    os.mkfifo(pipe)
    for refused in (answer(pipe, tmp_path / "out.jsonl"), answer(source, pipe, "--overwrite"), answer(source, tmp_path)):
        assert refused.exit_code == 2
        assert "pipe or a device" in refused.stderr
    assert pipe.is_fifo()
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--resume", "--overwrite"], "choose one"),
        (["--shard", "4/4"], "from 0 to N-1"),
        (["--url", "http://127.0.0.1:9", "--engine", "scripted"], "the server at --url has its own"),
        (["--align", "[a"], "neither JSON nor YAML"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(tmp_path: Path, more: list[str], told: str) -> None:
    done = answer(make_input(tmp_path, 1), tmp_path / "out.jsonl", *more, engine=())
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "out.jsonl").exists()


def test_a_server_answers_the_same(tmp_path: Path) -> None:
    source = make_input(tmp_path)
    with serving("--engine", "scripted", "--port", "0", "--api-key", "k") as server:
        url = ("--url", server.url)
        done = answer(source, tmp_path / "remote.jsonl", "--api-key", "k", engine=url)
        assert done.exit_code == 0, done.stderr
    assert answer(source, tmp_path / "local.jsonl").exit_code == 0
    assert contents(rows_of(tmp_path / "remote.jsonl")) == contents(rows_of(tmp_path / "local.jsonl"))
    gone = answer(source, tmp_path / "gone.jsonl", engine=url)
    assert gone.exit_code == 1
    assert "Traceback" not in gone.stderr


def test_shards_cover_the_file(tmp_path: Path) -> None:
    source = make_input(tmp_path, 5)
    parts = [tmp_path / f"out{index}.jsonl" for index in range(2)]
    for index, part in enumerate(parts):
        assert answer(source, part, "--shard", f"{index}/2").exit_code == 0
    rows = [row for part in parts for row in rows_of(part)]
    assert sorted(row["custom_id"] for row in rows) == [f"r{number}" for number in range(5)]
    assert "shard" in answer(source, parts[0], "--shard", "1/2", "--resume").stderr


def test_a_finished_file_is_recognised_without_an_engine(tmp_path: Path) -> None:
    source, output = make_input(tmp_path, 3), tmp_path / "out.jsonl"
    assert answer(source, output).exit_code == 0
    code = (
        "import sys; from trimtab.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: print(ended.code, 'torch' in sys.modules, 'fastapi' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "batch", str(source), "-o", str(output), *SCRIPTED, "--resume"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=LONGEST_S, check=False)
    assert done.stdout.split() == ["0", "False", "False"], done.stderr


def test_the_output_is_openais(tmp_path: Path) -> None:
    source, output = make_input(tmp_path, 1), tmp_path / "out.jsonl"
    answer(source, output)
    row = json.loads(output.read_text())
    assert set(row) == {"id", "custom_id", "response", "error"}
    assert set(row["response"]) == {"status_code", "request_id", "body"}
    assert row["error"] is None
