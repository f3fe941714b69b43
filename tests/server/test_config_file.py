"""The configuration file, the environment and flags, and what is said about mistakes."""

from pathlib import Path
from typing import Any

import pytest

from trimtab.server.config_file import ConfigFileError, read
from trimtab.server.settings import Settings, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trimtab.yaml"


def loaded(file: Path, text: str, *, environ: dict[str, str] | None = None, **overrides: Any) -> Settings:
    file.write_text(text, encoding="utf-8")
    return read(Settings, file, overrides=overrides, environ=environ or {})


def told(file: Path, text: str, *, environ: dict[str, str] | None = None, **overrides: Any) -> str:
    with pytest.raises(ConfigFileError) as caught:
        loaded(file, text, environ=environ, **overrides)
    return str(caught.value).replace(str(file), "FILE")


def test_flag_over_environment_over_file_over_default(file: Path) -> None:
    text = "http: {host: 1.1.1.1, port: 1, log_level: debug}"
    settings = loaded(file, text, environ={"TRIMTAB_HTTP__PORT": "2", "TRIMTAB_HOST": "2.2.2.2"}, http={"host": "3.3.3.3"})
    assert settings.http.host == "3.3.3.3"
    assert settings.http.port == 2
    assert settings.http.log_level == "debug"
    assert settings.http.metrics_public is False


def test_no_file_and_an_empty_file_are_the_defaults(file: Path) -> None:
    assert load_settings(environ={}) == Settings() == loaded(file, "") == loaded(file, "# nothing\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nhttp:\n  prot: 1\n", "FILE:3: http.prot: unknown key; did you mean 'port'?"),
        ("htpp: {}", "FILE:1: htpp: unknown key; did you mean 'http'?"),
        ("zzz: 1", "FILE:1: zzz: unknown key"),
        (
            "models:\n  m:\n    engine:\n      kind: vllm\n      max_len: 5\n",
            "FILE:5: models.m.engine.max_len: unknown key; did you mean 'max_model_len'?",
        ),
        ("keys:\n  - {name: a, key: b, scope: [infer]}", "FILE:2: keys.0.scope: unknown key; did you mean 'scopes'?"),
        (
            "roles: {judge: {sorce: x}}",
            "FILE:1: roles.judge: Input should be a valid string\n"
            "FILE:1: roles.judge.sorce: unknown key; did you mean 'source'?",
        ),
        ("limits: {n: 0}", "FILE:1: limits.n: Input should be greater than or equal to 1 (got '0')"),
        (
            "http: {port: abc}",
            "FILE:1: http.port: Input should be a valid integer, unable to parse string as an integer (got 'abc')",
        ),
        ("http: {port: 1, port: 2}", "FILE:1: http.port is given twice (first in line 1)"),
        ("http:\n  port: 1\n  host: a\n  port: 2\n", "FILE:4: http.port is given twice (first in line 2)"),
        ("http: [", "FILE:1: not valid YAML: "),
        ("- 1", "FILE: must hold keys such as `models:` and `http:`, not a list"),
        ("a: &a {b: *a}", "FILE:1: the alias holds itself"),
        ("http: {host: '${NOWHERE}'}", "FILE:1: http.host: the environment variable NOWHERE is not set"),
        ("x: !!python/object/apply:os.system ['true']", "FILE:1: not valid YAML: could not determine a constructor"),
    ],
)
def test_a_mistake_names_its_place(file: Path, text: str, message: str) -> None:
    assert told(file, text).startswith(message)


def test_every_mistake_is_told_at_once(file: Path) -> None:
    assert len(told(file, "http: {prot: 1}\nlimits: {n: 0}\nfoo: 1\n").splitlines()) == 3


def test_a_secret_is_not_shown(file: Path) -> None:
    assert "hunter2" not in told(file, "keys: [{name: a, key: [hunter2]}, {name: b, sha256: hunter2}]")


def test_a_mistake_in_the_environment_or_a_flag_says_so(file: Path) -> None:
    assert told(file, "", environ={"TRIMTAB_LIMITS__N": "none"}).startswith(
        "environment variable TRIMTAB_LIMITS__N: limits.n: "
    )
    assert told(file, "", limits={"n": 0}).startswith("a flag: limits.n: ")
    wrong = told(file, "", environ={"TRIMTAB_HTTP__PROT": "1"})
    assert wrong == "environment variable TRIMTAB_HTTP__PROT: there is no key 'http.prot'; did you mean TRIMTAB_HTTP__PORT?"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="cannot be read"):
        read(Settings, tmp_path / "missing.yaml", overrides={}, environ={})
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigFileError, match="cannot be read"):
        read(Settings, tmp_path / "binary", overrides={}, environ={})


def test_variables_in_strings(file: Path) -> None:
    text = "http: {host: '${A}.${B:-example}', uds: '$${A}'}\nkeys: [{name: k, key: '${SECRET}'}]"
    settings = loaded(file, text, environ={"A": "api", "SECRET": "s"})
    assert settings.http.host == "api.example"
    assert str(settings.http.uds) == "${A}"
    assert settings.keys[0].key is not None
    assert settings.keys[0].key.get_secret_value() == "s"


def test_environment_values_may_be_lists_and_objects(file: Path) -> None:
    environ = {
        "TRIMTAB_MODELS": "{a-b: {engine: {kind: scripted}}}",
        "TRIMTAB_PIPELINES": '{"careful": ["value_prompt"]}',
        "TRIMTAB_ACCEPT_LICENCE": "gemma, other",
        "TRIMTAB_ALIGN": "value_prompt",
        "TRIMTAB_LOG_JSON": "true",
        "TRIMTAB_DEFAULTS__ON_ERROR": "degrade",
    }
    settings = loaded(file, "", environ=environ)
    assert settings.models["a-b"].engine.kind == "scripted"
    assert settings.pipelines == {"careful": ["value_prompt"]}
    assert settings.accept_licences == {"gemma", "other"}
    assert settings.defaults.strategy == "value_prompt"
    assert settings.defaults.on_error == "degrade"
    assert settings.http.log_json is True


def test_what_others_put_into_the_environment_is_left_alone(file: Path) -> None:
    environ = {
        "TRIMTAB_PORT": "tcp://10.0.0.1:8000",
        "TRIMTAB_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "TRIMTAB_SERVICE_HOST": "10.0.0.1",
        "TRIMTAB_MODEL": "some/model",
        "TRIMTAB_CONFIG": "x.yaml",
        "TRIMTAB_API_KEY": "k",
        "PORT": "9",
    }
    assert loaded(file, "", environ=environ) == Settings()


def test_objects_merge_lists_and_other_kinds_replace(file: Path) -> None:
    text = "models: {m: {engine: {kind: vllm, kv_cache_gib: 2}}}\naccept_licences: [a]"
    merged = loaded(file, text, models={"m": {"engine": {"dtype": "float32"}}}, accept_licences=["b"])
    assert merged.models["m"].engine.model_dump()["kv_cache_gib"] == 2
    assert merged.models["m"].engine.model_dump()["dtype"] == "float32"
    assert merged.accept_licences == {"b"}
    replaced = loaded(file, text, models={"m": {"engine": {"kind": "transformers"}}})
    assert replaced.models["m"].engine.kind == "transformers"


def test_the_prompt_of_a_strategy_may_lie_in_a_file_beside(file: Path) -> None:
    (file.parent / "head.txt").write_text("Be kind. ${NOT_A_VARIABLE}", encoding="utf-8")
    settings = loaded(file, "pipelines: {kind: [{kind: urial, prompt_file: head.txt, structure: inline}]}")
    assert settings.pipelines == {"kind": [{"kind": "urial", "prompt": "Be kind. ${NOT_A_VARIABLE}", "structure": "inline"}]}


def test_a_prompt_file_that_is_not_there(file: Path) -> None:
    assert "urial.prompt_file: gone.txt cannot be read" in told(
        file, "pipelines: {kind: [{kind: urial, prompt_file: gone.txt}]}"
    )
    assert "in place of `prompt`" in told(file, "pipelines: {kind: {kind: urial, prompt_file: a, prompt: b}}")
