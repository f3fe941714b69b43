"""Relative paths of models in a configuration file."""

from pathlib import Path

import pytest

from trimtab.artifacts import DEFAULT_MODEL
from trimtab.server.config_file import ConfigFileError
from trimtab.server.settings import Settings, load_settings

TEXT = f"""
models:
  base: {{source: weights, chat_template: chat.jinja, engine: {{kind: vllm, lora: {{mine: ., far: elsewhere/adapter}}}}}}
  alias: {{source: {DEFAULT_MODEL}}}
  weights: {{source: organisation/model}}
roles: {{reward: {{source: ./rewards}}, judge: weights, aligner: aligners/one}}
encoders: [encoder, all-MiniLM-L6-v2]
"""


def loaded(folder: Path, text: str = TEXT) -> Settings:
    folder.mkdir(exist_ok=True)
    (folder / "trimtab.yaml").write_text(text)
    return load_settings(folder / "trimtab.yaml", environ={})


def test_what_lies_beside_the_file_is_meant_wherever_the_server_starts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("weights", "rewards", "aligners/one", "encoder", DEFAULT_MODEL):
        (run / name).mkdir(parents=True)
    (run / "chat.jinja").touch()
    settings = loaded(run)
    base = settings.models["base"]
    assert (base.source, base.chat_template) == (str(run / "weights"), str(run / "chat.jinja"))
    assert base.engine.model_dump()["lora"] == {"mine": str(run), "far": "elsewhere/adapter"}
    roles = {role: getattr(given, "source", given) for role, given in settings.roles.items()}
    assert roles == {"reward": str(run / "rewards"), "judge": "weights", "aligner": str(run / "aligners/one")}
    assert settings.encoders == (str(run / "encoder"), "all-MiniLM-L6-v2")
    assert settings.models["alias"].source == DEFAULT_MODEL


def test_what_does_not_lie_there_is_left_as_it_is(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert settings.models["base"].source == "weights"
    assert settings.models["weights"].source == "organisation/model"
    assert settings.roles["aligner"] == "aligners/one"


@pytest.mark.parametrize(
    "text", ["models: [a]", "models: {m: {engine: 3}}", "roles: 3", "encoders: 3", "models: {m: {source: [1]}}"]
)
def test_a_mistake_is_told_as_any_other(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigFileError, match="Input should be"):
        loaded(tmp_path, text)


@pytest.mark.parametrize("source", ["x" * 5000, '"a\\0b"', "~nobody-of-that-name/x", "{{ messages }}"])
def test_a_name_that_no_path_can_have_is_left_as_it_is(tmp_path: Path, source: str) -> None:
    text = f"models: {{m: {{chat_template: {source if source.startswith(chr(34)) else repr(source)}}}}}"
    assert loaded(tmp_path, text).models["m"].chat_template == source.strip('"').replace("\\0", "\0")
