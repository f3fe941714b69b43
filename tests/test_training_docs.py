"""What the documentation says of training comes from the code, and its commands are ones."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command

from trimtab.cli.app import app
from trimtab.training.data.columns import FORMS as KNOWN
from trimtab.training.methods.catalogue import every_config
from trimtab.training.models import LoraSettings
from trimtab.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_pages", ROOT / "docs" / "training_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(pages: ModuleType) -> str:
    return str(pages.page())


def test_every_method_has_a_line_and_a_section_with_its_paper(pages: ModuleType, page: str) -> None:
    listed = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\)", page, re.MULTILINE)
    assert listed == [(name, name) for name in every_config()]
    assert re.findall(r"^### `(\w+)`$", page, re.MULTILINE) == list(every_config())
    for config in every_config().values():
        summary, source, _ = pages.told(config)
        assert summary.endswith(".")
        assert re.search(r"arXiv \d{4}\.\d{5}|the survey", source), source


def test_every_parameter_and_setting_is_explained(pages: ModuleType) -> None:
    for config in every_config().values():
        for name in config.model_fields.keys() - {"kind"}:
            assert pages.described(config, name), (config, name)
    assert all(field.description for model in (TrainSettings, LoraSettings) for field in model.model_fields.values())


def test_every_flag_shown_exists(page: str) -> None:
    command = get_command(app).commands["train"]  # type: ignore[attr-defined]
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)} - {"method"}
    others = {"--role", "--align", "--num_processes"}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", page)) - others <= known
    keyed = {flag for _, flag in re.findall(r"^\| `([\w.]+)` \| `(--[\w-]+)` \|", page, re.MULTILINE)}
    no_keys = {"--config", "--resume", "--dry-run", "--server", "--server-model"}
    assert keyed == {flag for flag in known - no_keys if not flag.startswith("--no-")}


def test_every_form_of_a_row_is_shown_and_read(pages: ModuleType) -> None:
    assert set(pages.FORMS) == {columns for columns, _ in KNOWN}
    for columns, (_, records) in pages.FORMS.items():
        assert all(columns <= record.keys() for record in records), columns


def test_the_methods_of_a_form_are_those_that_read_it(pages: ModuleType) -> None:
    def learners(*columns: str) -> set[str]:
        return set(pages.learners(pages.FORMS[frozenset(columns)][1]))

    sampling = {"ppo", "rloo", "grpo", "rest"}
    assert learners("prompt") == sampling
    assert learners("text") == {"sft"}
    assert learners("prompt", "responses") == set(every_config())
    pairs = learners("chosen", "rejected")
    assert {"dpo", "reward", "kto", "slic", "coh", "sft", *sampling} <= pairs
    assert "value" not in pairs
    assert {"value", "pro", "rrhf", "choice"} <= learners("prompt", "completions")
    assert {"aligner", "second_thoughts"} <= learners("prompt", "draft", "correction")


def test_the_commands_of_the_readme_are_ones() -> None:
    section = README.partition("\n## Training\n")[2].partition("\n## ")[0]
    command = get_command(app).commands["train"]  # type: ignore[attr-defined]
    lines = re.findall(r"^trimtab train (.*)$", section, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line.partition("&&")[0])
        with command.make_context("train", words) as context:
            assert context.params["method"] in every_config()
            assert {"data", "output"} <= {name for name, value in context.params.items() if value}
    (row,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    assert {"prompt", "chosen", "rejected"} == set(json.loads(row))


def test_the_sharding_settings_named_are_there(page: str) -> None:
    named = set(re.findall(r"`(\w+\.json)`", page)) - {"training.json"}
    assert named == {path.name for path in (ROOT / "training" / "configs").glob("*.json")}
