from pathlib import Path

import pytest
import typer

from trimtab.cli.flags import ServeFlags, with_keys, with_model
from trimtab.server.settings import (
    KeyConfig,
    ModelConfig,
    ScriptedConfig,
    Settings,
    TransformersConfig,
    UpstreamConfig,
)

FILE = Settings(
    models={
        "a": ModelConfig(engine=TransformersConfig(max_batch_size=4)),
        "b": ModelConfig(engine=ScriptedConfig()),
    }
)


def test_no_flags_leave_the_settings_alone() -> None:
    assert with_model(FILE, ServeFlags()) is FILE


def test_the_model_argument_is_served_alone() -> None:
    settings = with_model(FILE, ServeFlags(model="./dir"))
    assert list(settings.models) == ["./dir"]
    assert settings.models["./dir"].source == "./dir"
    assert settings.models["./dir"].engine.kind == "auto"


def test_a_model_of_the_file_keeps_its_configuration() -> None:
    settings = with_model(FILE, ServeFlags(model="a", max_model_len=512))
    assert settings.models == {"a": ModelConfig(engine=TransformersConfig(max_batch_size=4, max_model_len=512))}


def test_engine_flags_change_the_first_model_and_keep_the_others() -> None:
    settings = with_model(FILE, ServeFlags(dtype="float32"))
    assert list(settings.models) == ["a", "b"]
    assert settings.models["a"].engine == TransformersConfig(max_batch_size=4, dtype="float32")


def test_another_engine_starts_from_its_own_defaults() -> None:
    engine = with_model(FILE, ServeFlags(engine="scripted")).models["a"].engine
    assert engine == ScriptedConfig()


def test_a_served_name_renames() -> None:
    assert list(with_model(FILE, ServeFlags(model="a", served_model_name="mine")).models) == ["mine"]
    assert list(with_model(Settings(), ServeFlags(served_model_name="mine")).models) == ["mine"]


def test_upstream_needs_no_engine_flag() -> None:
    settings = with_model(Settings(), ServeFlags(upstream="http://h/v1", model="m", upstream_api_key="k"))
    engine = settings.models["m"].engine
    assert isinstance(engine, UpstreamConfig)
    assert (engine.url, engine.model) == ("http://h/v1", "m")
    assert engine.api_key is not None
    assert engine.api_key.get_secret_value() == "k"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (ServeFlags(engine="upstream"), "--upstream URL"),
        (ServeFlags(engine="vllm", upstream="http://h/v1"), "--upstream needs --engine upstream"),
        (ServeFlags(engine="scripted", dtype="float32"), "--dtype does not apply"),
        (ServeFlags(engine="turbo"), "transformers"),
        (ServeFlags(engine="transformers", max_model_len=3), "--max-model-len"),
    ],
)
def test_flags_that_do_not_fit_are_usage_errors(flags: ServeFlags, message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        with_model(Settings(), flags)


def test_keys_of_the_command_line_stand_beside_those_of_the_file() -> None:
    settings = Settings(keys=(KeyConfig(name="cli-1", sha256="0" * 64),))
    keys = with_keys(settings, ServeFlags(api_keys=("x", "y"))).keys
    assert [key.name for key in keys] == ["cli-1", "cli-2", "cli-3"]
    assert keys[1].key is not None
    assert keys[1].key.get_secret_value() == "x"
    assert keys[1].scopes == {"infer", "batch", "corpus", "admin"}


def test_direct_keys_become_overrides() -> None:
    flags = ServeFlags(port=0, host="::1", data_dir=Path("d"), align=["plain"], roles={"judge": "j"}, log_json=False)
    assert flags.overrides() == {
        "http": {"host": "::1", "port": 0, "log_json": False},
        "defaults": {"strategy": ["plain"]},
        "roles": {"judge": "j"},
        "data_dir": Path("d"),
    }
