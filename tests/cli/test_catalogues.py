"""`trimtab strategies` and `trimtab models`, and the command itself."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli.app import app
from trimtab.strategies.config import catalogue
from trimtab.version import VERSION

RUN = CliRunner()


def test_version() -> None:
    assert RUN.invoke(app, ["--version"]).output == f"trimtab {VERSION}\n"


def test_the_help_is_instant_and_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'fastapi', 'openai', 'pydantic', 'rich.console'} & set(sys.modules)"
    code = f"import sys, trimtab.cli.app; print(sorted({heavy}))"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - started < 5


def test_every_strategy_is_listed() -> None:
    result = RUN.invoke(app, ["strategies"])
    assert result.exit_code == 0
    for kind in catalogue():
        assert kind in result.output


@pytest.mark.parametrize("kind", sorted(catalogue()))
def test_one_strategy_is_described_with_its_parameters(kind: str) -> None:
    result = RUN.invoke(app, ["strategies", kind])
    assert result.exit_code == 0
    for parameter in set(catalogue()[kind].model_fields) - {"kind"}:
        assert parameter in result.output


def test_the_catalogue_as_json_is_what_the_endpoint_answers() -> None:
    data = json.loads(RUN.invoke(app, ["strategies", "--json"]).output)["data"]
    assert [entry["kind"] for entry in data] == list(catalogue())
    assert all("schema" in entry for entry in data)


def test_an_unknown_strategy_suggests_the_nearest() -> None:
    result = RUN.invoke(app, ["strategies", "value_promt"])
    assert result.exit_code == 2
    assert "value_prompt" in result.output


def test_models_lists_the_catalogue_and_the_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE_DIR", str(tmp_path))
    result = RUN.invoke(app, ["models", "list"], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert "smollm2-135m-instruct" in result.output
    assert str(tmp_path) in result.output


def test_removing_what_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE_DIR", str(tmp_path))
    result = RUN.invoke(app, ["models", "rm", "nothing-here"])
    assert result.exit_code == 1
    assert "nothing-here" in result.output


def test_pulling_an_unknown_model_names_the_known_ones() -> None:
    result = RUN.invoke(app, ["models", "pull", "smollm2-135m-instrct"])
    assert result.exit_code == 2
    assert "smollm2-135m-instruct" in result.output


def test_a_gated_model_asks_for_its_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRIMTAB_ACCEPT_LICENCE", raising=False)
    result = RUN.invoke(app, ["models", "pull", "gemma3-270m-base"])
    assert result.exit_code == 2
    assert "TRIMTAB_ACCEPT_LICENCE=gemma" in result.output
