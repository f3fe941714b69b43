from pathlib import Path

import pytest
import typer

from trimtab.artifacts import Manifest, TrainingFacts, write_manifest
from trimtab.cli.flags import ServeFlags, load, with_keys, with_model
from trimtab.server.settings import (
    AutoEngine,
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


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_what_auto_was_told_holds_for_the_engine_that_is_named(engine: str) -> None:
    auto = Settings(models={"a": ModelConfig(engine=AutoEngine(dtype="float32", lora={"b": "."}))})
    named = with_model(auto, ServeFlags(engine=engine)).models["a"].engine
    assert named.model_dump(include={"kind", "dtype", "lora"}) == {"kind": engine, "dtype": "float32", "lora": {"b": "."}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory with the manifest of an adapter."""
    write_manifest(tmp_path, Manifest.of_adapter("mine", base="org/base"), TrainingFacts(method="sft", base="org/base"))
    return tmp_path


def test_a_run_is_served_by_its_own_manifest(run: Path) -> None:
    by_name, by_file = load(ServeFlags(model=str(run)), None), load(ServeFlags(), run / "trimtab.yaml")
    assert by_name == by_file
    assert by_name.models == {"base": ModelConfig(source="org/base", engine=AutoEngine(lora={"mine": str(run)}))}


def test_flags_change_a_run_and_a_file_gives_the_rest(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("models: {other: {source: x}}\nroles: {judge: j}\nlimits: {n: 3}\n")
    settings = load(ServeFlags(model=str(run), engine="transformers", roles={"reward": "r"}), file)
    assert settings.models == {"base": ModelConfig(source="org/base", engine=TransformersConfig(lora={"mine": str(run)}))}
    assert (settings.roles, settings.limits.n) == ({"judge": "j", "reward": "r"}, 3)


def test_a_run_that_fills_a_role_stands_beside_the_models_of_the_file(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest.of_role("reward"), TrainingFacts(method="reward", base="b"))
    assert load(ServeFlags(model=str(tmp_path)), None).models == {}
    file = tmp_path / "server.yaml"
    file.write_text("models: {other: {source: x}}")
    settings = load(ServeFlags(model=str(tmp_path)), file)
    assert list(settings.models) == ["other"]
    assert settings.roles["reward"].source == str(tmp_path)  # type: ignore[union-attr]


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
