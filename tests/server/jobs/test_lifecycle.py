"""Batches of a real server process that is killed in the middle of its work and started again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from tests.cli.serving import PACKAGE_PARENT
from tests.server.jobs.postgres import postgres_server

CHILD = """
import json, sys
from trimtab.server.run import serve
from trimtab.server.settings import Settings

if __name__ == "__main__":
    serve(Settings.model_validate(json.loads(sys.argv[1])), on_ready=lambda url, service: print(url, flush=True))
"""

PATIENCE_S = 240.0


@contextlib.contextmanager
def server(script: Path, settings: dict[str, Any]) -> Iterator[tuple["subprocess.Popen[str]", openai.OpenAI]]:
    """A server process that is ready, and a client of it; killed at the end."""
    script.write_text(CHILD)
    env = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(script), json.dumps({"http": {"port": 0}, **settings})], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
                yield process, client
        finally:
            process.kill()


def scripted(data: Path, tokens_per_s: float | None, **jobs: Any) -> dict[str, Any]:
    """A server whose answers take their time; an answer here has some sixteen tokens."""
    engine = {"kind": "scripted", **({"tokens_per_s": tokens_per_s} if tokens_per_s else {})}
    return {"models": {"m": {"engine": engine}}, "data_dir": str(data), "jobs": {"concurrency": 4, **jobs}}


def submit(client: openai.OpenAI, count: int, **body: Any) -> Batch:
    def line(at: int) -> str:
        asked = {"messages": [{"role": "user", "content": f"item {at}"}], **body}
        return json.dumps({"custom_id": f"c{at}", "method": "POST", "url": "/v1/chat/completions", "body": asked})

    text = "\n".join(map(line, range(count)))
    file = client.files.create(file=("in.jsonl", text.encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def answered(batch: Batch) -> int:
    return batch.request_counts.completed if batch.request_counts else 0


def once(client: openai.OpenAI, batch: Batch, *, least: int | None = None) -> Batch:
    """The batch once so many lines are answered, or once it is complete."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        batch = client.batches.retrieve(batch.id)
        if batch.status == "completed" or (least is not None and answered(batch) >= least):
            return batch
        assert batch.status in {"validating", "in_progress", "finalizing"}, batch
        time.sleep(0.02)  # another process works on it; its state is told when it is asked for
    raise AssertionError(f"still {batch.status} with {batch.request_counts}")


def check(client: openai.OpenAI, done: Batch, count: int) -> list[dict[str, Any]]:
    """The rows of a complete output: each line once, and the counts and tokens are theirs."""
    assert done.output_file_id is not None
    assert done.usage is not None
    rows = [json.loads(row) for row in client.files.content(done.output_file_id).text.splitlines()]
    assert Counter(row["custom_id"] for row in rows) == Counter(f"c{at}" for at in range(count))
    assert (answered(done), done.error_file_id) == (count, None)
    usages = [row["response"]["body"]["usage"] for row in rows]
    assert done.usage.input_tokens == sum(usage["prompt_tokens"] for usage in usages)
    assert done.usage.output_tokens == sum(usage["completion_tokens"] for usage in usages)
    outputs = client.files.list(purpose="batch_output").data
    assert [file.id for file in outputs] == [done.output_file_id]
    return rows


def killed_and_resumed(tmp_path: Path, slow: dict[str, Any], quick: dict[str, Any], count: int = 40) -> None:
    """SIGKILL once some lines are answered and others are in work; a second server answers the rest."""
    script = tmp_path / "child.py"
    with server(script, slow) as (process, client):
        batch = submit(client, count)
        before = answered(once(client, batch, least=4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert before < count, "it was killed too late"
    with server(script, quick) as (_, client):
        done = once(client, batch)
        assert done.status == "completed"
        rows = check(client, done, count)
        said = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in rows}
        assert said == {f"c{at}": f"You said: item {at}" for at in range(count)}


def test_a_server_that_is_killed_loses_no_line_and_doubles_none(tmp_path: Path) -> None:
    """The new server may have the batch when the dead one's lease is over, after a second."""
    slow, quick = (scripted(tmp_path, pace, lease_s=1) for pace in (40, None))
    killed_and_resumed(tmp_path, slow, quick)


def test_the_same_on_postgresql(tmp_path: Path) -> None:
    with postgres_server() as postgres:
        database = postgres.fresh()
        slow, quick = (scripted(tmp_path, pace, lease_s=1, database=database) for pace in (40, None))
        killed_and_resumed(tmp_path, slow, quick)


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Five deaths, at any moment of the work; a tenth of a second more of it each time."""
    settings = scripted(tmp_path, 40, lease_s=0.5)
    script = tmp_path / "child.py"
    with server(script, settings) as (_, client):
        batch = submit(client, 100)
    for death in range(5):
        with server(script, settings) as (process, client):
            once(client, batch, least=answered(client.batches.retrieve(batch.id)) + 1)
            time.sleep(0.1 * death)  # no event is waited for: the death is to come at another moment each time
            process.send_signal(signal.SIGKILL)
            process.wait()
    with server(script, scripted(tmp_path, None, lease_s=0.5)) as (_, client):
        check(client, once(client, batch), 100)


@pytest.mark.slow
def test_two_servers_share_the_work(tmp_path: Path) -> None:
    """Both work on one folder; one is killed, and the other answers what is left of its batches."""
    settings = scripted(tmp_path, 40, lease_s=1, batches=1)
    with server(tmp_path / "one.py", settings) as (process, first), server(tmp_path / "two.py", settings) as (_, second):
        batches = [submit(first, 30), submit(second, 30)]
        for batch in batches:
            once(first, batch, least=4)
        process.kill()
        process.wait()
        for batch in batches:
            assert once(second, batch).status == "completed"
            assert answered(second.batches.retrieve(batch.id)) == 30


@pytest.mark.slow
def test_the_default_model_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    settings = {
        "models": {"smollm2-135m-instruct": {"engine": {"kind": "transformers"}}},
        "data_dir": str(tmp_path),
        "jobs": {"concurrency": 2, "lease_s": 1},
    }
    script = tmp_path / "child.py"
    with server(script, settings) as (process, client):
        batch = submit(client, 16, max_tokens=24, temperature=0)
        before = answered(once(client, batch, least=2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert before < 16
    with server(script, settings) as (_, client):
        check(client, once(client, batch), 16)
