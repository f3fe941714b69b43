"""What the documentation takes from the code is up to date, and what it shows works."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.contracts.features import ENGINES, FEATURES
from trimtab.cli.app import app
from trimtab.server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_generated_is_stale(render: ModuleType) -> None:
    assert render.stale() == [], "run: python docs/render.py"


def test_a_missing_marker_is_an_error(render: ModuleType) -> None:
    with pytest.raises(ValueError, match="strategies"):
        render.readme("a text without markers")


def test_the_first_screen_has_the_two_commands() -> None:
    first = "\n".join(README.splitlines()[:25])
    assert "pip install . && trimtab serve" in first
    assert 'pip install ".[test]" && pytest' in first


def test_ci_runs_the_readme_test_command() -> None:
    steps = (ROOT / ".ci" / "base.sh").read_text(encoding="utf-8")
    assert re.search(r'pip install -q+ "\.\[test\]"', steps)
    assert re.search(r"^step pytest$", steps, re.MULTILINE)


def test_every_yaml_block_is_a_configuration() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        Settings.model_validate(yaml.safe_load(block))


def test_every_command_shown_exists() -> None:
    commands = {name for command in app.registered_commands if (name := command.name)}
    groups = {group.name for group in app.registered_groups}
    shown = set(re.findall(r"(?:^|`|&& |\$ )trimtab ([a-z]+)", README, re.MULTILINE))
    assert shown
    assert shown <= commands | groups


def test_every_path_shown_is_there() -> None:
    for link in re.findall(r"\]\(((?!http|#)[^)]+)\)", README):
        assert (ROOT / link).exists(), link
    flow = README.partition("## How a request flows")[2].partition("\n## ")[0]
    paths = re.findall(r"`((?:server|strategies|trimtab|retrieval)/[\w/]+(?:\.py|/))`", flow)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists(), path


def test_features_are_declared_once_for_every_engine() -> None:
    ids = [feature.id for feature in FEATURES]
    assert len(ids) == len(set(ids))
    assert all(feature.state(engine) in {"yes", "refused", "upstream"} for feature in FEATURES for engine in ENGINES)
    assert not [f.id for f in FEATURES if f.transformers == "upstream" or f.vllm == "upstream" or f.scripted == "upstream"]
