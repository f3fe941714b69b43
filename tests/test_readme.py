"""The calls of the README, run as they stand there, but for the address and the engine."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.serving import LONGEST_S, Served, environment, serving

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving("--engine", "scripted", "--port", "0") as server:
        yield server


def block(language: str, holding: str) -> str:
    """The first code block of a language that holds a text."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in text]
    assert found, f"no {language} block holds {holding!r}"
    return str(found[0])


def done(command: list[str]) -> str:
    """Standard output of a command that must succeed."""
    result = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=LONGEST_S, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_curl(served: Served) -> None:
    text = block("bash", "curl").replace(ADDRESS, served.url.removesuffix("/v1"))
    assert json.loads(done(["bash", "-c", text]))["alignment"]["strategy"] == ["value_prompt"]


def test_openai_python(served: Served) -> None:
    text = block("python", "from openai import").replace(ADDRESS, served.url.removesuffix("/v1"))
    assert "sleeping well" in done([sys.executable, "-c", text])


def test_our_client_with_a_private_server() -> None:
    text = block("python", "from trimtab import")
    assert text.count("OpenAI(model=") == 1
    output = done([sys.executable, "-c", text.replace("OpenAI(model=", 'OpenAI(engine="scripted", model=')])
    assert "sleeping well" in output
    assert output.splitlines()[-1] == "applied"


def test_the_javascript_call_is_the_same_call() -> None:
    text = block("javascript", "import OpenAI")
    for piece in (ADDRESS, "smollm2-135m-instruct", "Give me one tip for sleeping well.", 'strategy: "value_prompt"'):
        assert piece in text
