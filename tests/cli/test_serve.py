"""`trimtab serve` as its user meets it: the banner, a call, the end, and what is said when something is wrong."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.serving import LONGEST_S, Served, environment, run, serving


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving("--engine", "scripted", "--port", "0", "--align", "value_prompt") as server:
        yield server


def test_the_banner_says_what_is_served(served: Served) -> None:
    assert re.search(r"Engine\s+scripted", served.banner)
    assert re.search(r"Model\s+smollm2-135m-instruct", served.banner)
    assert re.search(r"Strategy\s+value_prompt", served.banner)
    assert re.search(r"Auth\s+off", served.banner)
    assert f"{served.url.removesuffix('/v1')}/docs" in served.banner


def test_the_example_of_the_banner_works(served: Served) -> None:
    example = served.banner[served.banner.index("curl ") :]
    done = subprocess.run(["bash", "-c", example], capture_output=True, text=True, check=True, timeout=LONGEST_S)
    answer = json.loads(done.stdout)
    assert answer["object"] == "chat.completion"
    assert answer["alignment"]["status"] == "applied"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(number: signal.Signals) -> None:
    with serving("--engine", "scripted", "--port", "0") as server:
        server.process.send_signal(number)
        assert server.process.wait(LONGEST_S) == 0


def test_a_key_is_asked_for_and_stays_out_of_the_banner() -> None:
    with serving("--engine", "scripted", "--port", "0", "--api-key", "s3cret") as server:
        assert "s3cret" not in server.banner
        assert re.search(r"Auth\s+1 API key", server.banner)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/models", timeout=LONGEST_S)
        assert refused.value.code == 401
        refused.value.close()
        request = urllib.request.Request(f"{server.url}/models", headers={"authorization": "Bearer s3cret"})
        with urllib.request.urlopen(request, timeout=LONGEST_S) as answer:
            assert json.load(answer)["data"][0]["id"] == "smollm2-135m-instruct"


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "t.sock"
    with serving("--engine", "scripted", "--uds", str(path)) as server:
        assert server.url == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LONGEST_S)
            connection.connect(str(path))
            connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert connection.recv(64).startswith(b"HTTP/1.1 200")


def test_it_ends_with_its_parent() -> None:
    reading, writing = os.pipe()
    with serving_child(reading) as process:
        os.close(reading)
        assert process.stdout is not None
        assert any("is ready" in line for line in process.stdout)
        os.close(writing)
        process.wait(LONGEST_S)


def serving_child(fd: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trimtab", "serve", "--engine", "scripted", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        pass_fds=(fd,),
        env=environment({"TRIMTAB_PARENT_FD": str(fd)}),
    )


def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        done = run("serve", "--engine", "scripted", "--port", port)
    assert done.returncode == 1
    assert port in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_key_of_the_file_suggests_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "trimtab.yaml"
    file.write_text("http: {prot: 8000}\n", encoding="utf-8")
    done = run("serve", "--config", str(file))
    assert done.returncode == 2
    assert "port" in done.stderr
    assert f"{file}:1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--align", "value_promt"], "value_prompt"),
        (["--align", "[a"], "neither JSON nor YAML"),
        (["--engine", "turbo"], "transformers"),
        (["--engine", "upstream"], "--upstream URL"),
        (["--role", "king=x"], "judge"),
        (["--port", "70000"], "65535"),
        (["--config", "no-such-file.yaml"], "no-such-file.yaml"),
        (["smollm2-135m-instrct", "--port", "0"], "smollm2-135m-instruct"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str], message: str) -> None:
    done = run("serve", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "trimtab.yaml"
    file.write_text("http: {port: 1001, host: 127.0.0.1, log_level: warning}\n", encoding="utf-8")
    extra = {"TRIMTAB_PORT": "1002", "TRIMTAB_LOG_LEVEL": "error"}
    done = run("serve", "--config", str(file), "--port", "1003", "--print-config", extra=extra)
    assert done.returncode == 0, done.stderr
    http = yaml.safe_load(done.stdout)["http"]
    assert (http["port"], http["log_level"], http["host"]) == (1003, "error", "127.0.0.1")


def test_the_printed_configuration_hides_keys() -> None:
    done = run("serve", "--print-config", "--api-key", "s3cret", "--upstream", "http://h/v1", "--upstream-api-key", "t0p")
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in done.stdout
    assert "t0p" not in done.stdout
    assert "http://h/v1" in done.stdout


def test_an_open_address_without_a_key_is_warned_about() -> None:
    done = run(
        "serve", "--engine", "scripted", "--host", "0.0.0.0", "--port", "1", "--data-dir", "/proc/nowhere", "--print-config"
    )
    assert done.returncode == 0
    assert "anyone may use this server" in done.stderr
