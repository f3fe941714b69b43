"""Specs: names, objects, lists and named pipelines become configurations; mistakes get the nearest name."""

import pytest

from trimtab.strategies.config import BUILT_IN, describe, kind_of, parse_spec
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import ConfigError, UnknownStrategy
from trimtab.strategies.decoding.plain import PlainConfig
from trimtab.strategies.pipeline import Pipeline
from trimtab.strategies.shaping.value_prompt import ValuePromptConfig


def test_a_name_is_the_strategy_with_its_defaults() -> None:
    assert parse_spec("value_prompt") == (ValuePromptConfig(),)


def test_plain_is_the_empty_pipeline() -> None:
    assert parse_spec("plain") == ()
    assert parse_spec([]) == ()
    assert Pipeline.of(parse_spec("plain")).is_plain


def test_objects_and_lists() -> None:
    spec = [{"kind": "value_prompt", "pack": "unbiased"}, "value_prompt"]
    assert parse_spec(spec) == (ValuePromptConfig(pack="unbiased"), ValuePromptConfig())


def test_named_pipelines_nest() -> None:
    pipelines = {"careful": ["value_prompt"], "twice": ["careful", {"kind": "value_prompt", "pack": "private"}]}
    assert parse_spec("twice", pipelines=pipelines) == (ValuePromptConfig(), ValuePromptConfig(pack="private"))


def test_a_pipeline_cannot_contain_itself() -> None:
    with pytest.raises(ConfigError, match="a -> b -> a"):
        parse_spec("a", pipelines={"a": ["b"], "b": ["a"]})


def test_a_typo_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownStrategy, match="did you mean 'value_prompt'") as caught:
        parse_spec("value_promt")
    assert caught.value.code == "unknown_strategy"


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"kind": "value_prompt", "principels": ["x"]}, "principels"),
        ({"kind": "value_prompt", "reasoning_tokens": 0}, "reasoning_tokens"),
        ({"kind": "value_prompt", "pack": "kind"}, "pack"),
        ({"pack": "unbiased"}, "kind"),
        ({"kind": 3}, "kind"),
    ],
)
def test_wrong_parameters_are_named(spec: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        parse_spec(spec)
    assert caught.value.param.startswith("alignment.strategy")


def test_long_lists_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 16"):
        parse_spec(["value_prompt"] * 17)


@pytest.mark.parametrize("config", BUILT_IN, ids=kind_of)
def test_every_strategy_describes_itself(config: type[PlainConfig]) -> None:
    described = describe(config)
    assert described["role"] in {"shaper", "decoder", "reviser"}
    assert described["summary"].endswith(".")
    assert described["schema"]["properties"]["kind"]["const"] == described["kind"]
    undocumented = [name for name, field in config.model_fields.items() if name != "kind" and not field.description]
    assert not undocumented


@pytest.mark.parametrize("config", BUILT_IN, ids=kind_of)
def test_every_strategy_works_by_its_bare_name(config: type[PlainConfig]) -> None:
    built = Pipeline.of(parse_spec(kind_of(config)))
    assert built.cost(Params(n=2)).calls >= 1


def test_a_request_names_no_file_of_the_server() -> None:
    with pytest.raises(ConfigError, match=r"urial\.prompt_file: Extra inputs are not permitted"):
        parse_spec({"kind": "urial", "prompt_file": "/etc/hostname"})
