"""`trimtab check`: by itself without a model, on local corpora, and by a server."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.cli.serving import serving
from trimtab.cli.app import app

RUN = CliRunner()
TURNS = [{"role": "user", "content": "May I?"}, {"role": "assistant", "content": "I am sorry, but I cannot help with that."}]


def checked(*words: object, text: str = "") -> Result:
    return RUN.invoke(app, ["check", *map(str, words)], input=text, env={"COLUMNS": "200", "TRIMTAB_URL": ""})


def done(*words: object, text: str = "") -> str:
    result = checked(*words, text=text)
    assert result.exit_code == 0, result.output
    return result.stdout


def failed(status: int, *words: object) -> str:
    result = checked(*words)
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


@pytest.fixture
def conversation(tmp_path: Path) -> Path:
    path = tmp_path / "turns.json"
    path.write_text(json.dumps({"messages": TURNS}))
    return path


def test_a_text_is_scored_without_starting_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model of that name is nowhere: it would be missed if it were looked for."""
    monkeypatch.setenv("TRIMTAB_MODEL", str(tmp_path / "no-such-model"))
    result = checked("I am sorry, but I cannot help with that.")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith("toxicity: 0.0")
    assert "refusal: 1 (no better side); form " in result.stdout


def test_input_and_conversations(conversation: Path) -> None:
    by_input = json.loads(done("-", "--scorers", "refusal,length", "--json", text=TURNS[1]["content"]))
    by_file = json.loads(done("--conversation", conversation, "--scorers", "refusal,length", "--json"))
    assert by_input["scores"] == by_file["scores"]
    assert [one["value"] for one in by_file["scores"]] == [1.0, 9.0]
    conversation.write_text(json.dumps(TURNS))
    assert json.loads(done("--conversation", conversation, "--scorers", "length", "--json"))["scores"][0]["value"] == 9.0


@pytest.mark.slow  # loads the real encoder
def test_rules_of_the_built_in_corpus_read_by_a_double(tmp_path: Path) -> None:
    said = done(
        "Take two of these tablets every hour.", "--norms", "default-norms", "-k", 3, "--judge", "policy",
        "--engine", "scripted", "--data-dir", tmp_path,
    )  # fmt: skip
    *heads, warning = (line for line in said.splitlines() if not line.startswith(" "))
    assert len(heads) == 3
    assert "was never measured" in warning
    assert any("medicine" in line for line in said.splitlines())
    assert all(any(verdict in head for verdict in (": kept", ": BROKEN", ": no verdict")) for head in heads)


def test_wrong_calls_are_refused(tmp_path: Path, conversation: Path) -> None:
    assert "either a TEXT" in failed(2)
    assert "either a TEXT" in failed(2, "x", "--conversation", conversation)
    assert "--norms" in failed(2, "x", "--judge", "policy")
    assert "did you mean 'toxicity'" in failed(2, "x", "--scorers", "toxicty")
    assert "Possible here" in failed(2, "x", "--scorers", "reward")
    assert "cannot be read" in failed(2, "--conversation", tmp_path / "missing.json")
    conversation.write_text('{"turns": []}')
    assert "list of messages" in failed(2, "--conversation", conversation)
    conversation.write_text(json.dumps(TURNS[:1]))
    assert "the last turn must be the assistant's" in failed(2, "--conversation", conversation)
    assert "no corpus" in failed(2, "x", "--norms", "nowhere", "--data-dir", tmp_path).lower()


def test_a_server_checks_as_well(tmp_path: Path, conversation: Path) -> None:
    with serving("--engine", "scripted", "--port", "0", "--data-dir", str(tmp_path)) as server:
        there = json.loads(done("--conversation", conversation, "--url", server.url, "--json"))
        here = json.loads(done("--conversation", conversation, "--json"))
        assert there["scores"] == here["scores"]
        assert "did you mean 'refusal'" in failed(2, "x", "--scorers", "refusals", "--url", server.url)
        assert "nowhere" in failed(1, "x", "--norms", "nowhere", "--url", server.url)
    assert "127.0.0.1" in failed(1, "x", "--url", server.url)
