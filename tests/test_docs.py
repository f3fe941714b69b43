"""What the documentation takes from the code is up to date, and what it shows works."""

import ast
import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.contracts.features import ENGINES, FEATURES
from trimtab.cli.app import app
from trimtab.cli.spec import parse_align
from trimtab.server.api.schemas.alignment import AlignmentOptions
from trimtab.server.settings import Settings
from trimtab.strategies.config import catalogue, parse_spec
from trimtab.strategies.pipeline import Pipeline

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
        assert (ROOT / link.partition("#")[0]).exists(), link
    flow = README.partition("## How a request flows")[2].partition("\n## ")[0]
    paths = re.findall(r"`((?:server|strategies|trimtab|retrieval)/[\w/]+(?:\.py|/))`", flow)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_strategy_has_a_section_with_an_example(render: ModuleType) -> None:
    page = render.strategies_page()
    assert re.findall(r"^## `(\w+)`$", page, re.MULTILINE) == list(catalogue())
    assert set(render.strategy_pages.EXAMPLES) >= set(catalogue())


def test_the_three_forms_of_an_example_are_one_call(render: ModuleType) -> None:
    for kind, section in sections(render.strategies_page()).items():
        curl, python, terminal = re.findall(r"```(?:bash|python)\n(.*?)```", section, re.DOTALL)
        *_, body = shlex.split(curl)
        told = json.loads(body)
        AlignmentOptions.model_validate(told["alignment"])
        pipeline = Pipeline.of(parse_spec(told["alignment"]["strategy"]))
        assert kind in pipeline.names
        call = next(node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Call) and len(node.keywords) > 3)
        assert {one.arg: ast.literal_eval(one.value) for one in call.keywords} == told
        words = shlex.split(terminal)
        assert parse_align(words[words.index("--align") + 1]) == told["alignment"]["strategy"]
        assert words[1] == told["messages"][0]["content"]


def test_the_table_shows_what_was_measured_and_what_was_not(render: ModuleType) -> None:
    cost = {"extra_calls": 2.0, "extra_prompt_tokens": 310.4, "cached_share": 0.9, "extra_completion_tokens": -3.0}
    told = {"kinds": {"value_prompt": cost}}
    assert render.strategy_pages.measured("value_prompt", told) == ("+2.0", "+310 read (90% from the cache), -3 written")
    assert render.strategy_pages.measured("unheard_of", told) == ("not measured", "not measured")


def sections(page: str) -> dict[str, str]:
    """The page by strategy."""
    _, *parts = re.split(r"^## `(\w+)`$", page, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_features_are_declared_once_for_every_engine() -> None:
    ids = [feature.id for feature in FEATURES]
    assert len(ids) == len(set(ids))
    assert all(feature.state(engine) in {"yes", "refused", "upstream"} for feature in FEATURES for engine in ENGINES)
    assert not [f.id for f in FEATURES if f.transformers == "upstream" or f.vllm == "upstream" or f.scripted == "upstream"]
