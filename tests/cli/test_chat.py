"""`trimtab chat` against a running server: behind a terminal, and with lines on standard input."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.serving import Served, Terminal, run, serving

WORDS = " ".join(f"word{i}" for i in range(40))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    file: Path = tmp_path_factory.mktemp("chat") / "trimtab.yaml"
    model = {"engine": {"kind": "scripted", "answers": [WORDS], "tokens_per_s": 20}}
    echo = {"engine": {"kind": "scripted"}}
    file.write_text(json.dumps({"models": {"slow": model, "echo": echo}}), encoding="utf-8")
    with serving("--config", str(file), "--port", "0") as server:
        yield server


@pytest.fixture
def terminal(served: Served) -> Iterator[Terminal]:
    program = Terminal("chat", "--url", served.url)
    try:
        program.expect("> ")
        yield program
    finally:
        program.close()


def test_ctrl_c_stops_the_answer_and_twice_at_the_prompt_leaves(terminal: Terminal) -> None:
    terminal.type("tell me\n")
    terminal.expect("word1 ")
    terminal.type("\x03")
    assert "word39" not in terminal.expect("[stopped]")
    terminal.expect("> ")
    terminal.type("/help\n")
    terminal.expect("Ctrl-C stops")
    terminal.expect("> ")
    terminal.interrupt("again or Ctrl-D leaves")
    terminal.expect("> ")
    terminal.type("\x03")
    if not terminal.ends(10.0):
        terminal.type("\x03")
    assert terminal.wait() == 0


def test_ctrl_d_leaves(terminal: Terminal) -> None:
    terminal.type("\x04")
    assert terminal.wait() == 0


def test_lines_on_standard_input_are_turns(served: Served) -> None:
    done = run("chat", "echo", "--url", served.url, text="first thing\n\n/reset\nsecond thing\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("first thing") < done.stdout.index("anew") < done.stdout.index("second thing")


def test_the_trace_tells_what_the_alignment_did(served: Served) -> None:
    arguments = ("chat", "echo", "--url", served.url.removesuffix("/v1"), "--align", "value_prompt", "--trace")
    done = run(*arguments, text="hello\n")
    assert done.returncode == 0, done.stderr
    assert "[alignment applied" in done.stdout
    assert "value_prompt" in done.stdout


def test_exit_leaves_what_follows_unread(served: Served) -> None:
    done = run("chat", "echo", "--url", served.url, text="/exit\nnever said\n")
    assert done.returncode == 0
    assert "never said" not in done.stdout


def test_a_refused_turn_is_an_error(served: Served) -> None:
    done = run("chat", "no-such-model", "--url", served.url, text="hello\n")
    assert done.returncode == 1
    assert "no-such-model" in done.stderr


def test_a_server_out_of_reach_is_an_error() -> None:
    done = run("chat", "--url", "http://127.0.0.1:9/v1", text="hello\n")
    assert done.returncode == 1
    assert "http://127.0.0.1:9/v1" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_of_a_running_server_cannot_be_chosen(served: Served) -> None:
    done = run("chat", "--url", served.url, "--engine", "vllm")
    assert done.returncode == 2
    assert "--engine" in done.stderr


def test_without_a_url_a_private_server_answers_whatever_the_environment_names() -> None:
    done = run("chat", "--engine", "scripted", text="hello there\n", extra={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert done.returncode == 0, done.stderr
    assert "hello there" in done.stdout
    assert "private server" in done.stderr
