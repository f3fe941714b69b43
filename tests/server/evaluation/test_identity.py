"""What tells runs apart: names and hashes of alignments, hashes of weights and prompts."""

from pathlib import Path

import pytest

from tests.server.services import MODEL, service_of
from trimtab.server.evaluation.identity import (
    WINDOW,
    WINDOWS,
    model_sha256,
    named,
    package_versions,
    prompts_sha256,
    role_sha256,
    short_name,
    spec_sha256,
    steps_sha256,
    weights_sha256,
)
from trimtab.server.settings import RoleConfig, ScriptedConfig, Settings
from trimtab.strategies.config import parse_spec
from trimtab.version import VERSION


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("plain", "plain"),
        ([], "plain"),
        (["norms", "critique_refine"], "norms+critique_refine"),
        ({"kind": "rain", "max_iterations": 3}, "rain"),
        (["norms", {"kind": "rain", "max_iterations": 3}], "norms+rain"),
    ],
)
def test_names_are_short(spec: str | list[str | dict[str, object]] | dict[str, object], name: str) -> None:
    assert short_name(spec) == name


def test_names_are_unique() -> None:
    specs = ["plain", "urial", "plain", [], {"kind": "urial", "k": 1}]
    assert [one.name for one in named(specs, spec_sha256)] == ["plain", "urial", "plain#2", "plain#3", "urial#2"]


def test_steps_are_told_apart_by_parameters_and_prompts() -> None:
    def of(spec: str | dict[str, object], prompts: str = "1") -> str:
        return steps_sha256(parse_spec(spec), prompts)

    default = {"kind": "urial", "k": parse_spec("urial")[0].model_dump()["k"]}
    assert of("urial") == of(default)
    assert len({of("urial"), of({"kind": "urial", "k": 1}), of("urial", "2"), of("plain")}) == 4
    assert of("plain") == of("plain", "2")


def test_prompts_have_one_hash() -> None:
    assert prompts_sha256() == prompts_sha256()
    assert len(prompts_sha256()) == 64


def folder(path: Path, weights: bytes, **files: str) -> Path:
    path.mkdir()
    (path / "model.safetensors").write_bytes(weights)
    for name, text in {"config": "{}", **files}.items():
        (path / f"{name.replace('__', '-')}.json").write_text(text)
    return path


def test_weights_of_one_size_differ_by_content(tmp_path: Path) -> None:
    large = bytes(WINDOW * WINDOWS * 2)
    trained = large[:-1] + b"\x01"
    first, same, other = (folder(tmp_path / name, data) for name, data in (("a", large), ("b", large), ("c", trained)))
    assert weights_sha256(first) == weights_sha256(same)
    assert weights_sha256(first) != weights_sha256(other)
    assert weights_sha256(first, other) not in {weights_sha256(first), weights_sha256(other)}


def test_when_weights_were_made_does_not_count_and_their_configuration_does(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", b"small")
    dated = folder(tmp_path / "b", b"small", trimtab__artifact='{"created": "today"}', training='{"created": "today"}')
    other = folder(tmp_path / "c", b"small", generation_config='{"temperature": 0.1}')
    assert weights_sha256(first) == weights_sha256(dated)
    assert weights_sha256(first) != weights_sha256(other)


def test_a_role_is_its_own_model_or_a_served_one() -> None:
    roles = {"judge": MODEL, "reward": RoleConfig(source="one", engine=ScriptedConfig())}
    service = service_of(Settings.model_validate({"roles": roles}))
    service.roles = dict.fromkeys(roles, service.registry.models[MODEL].engine)
    assert role_sha256(service, "judge", MODEL) == model_sha256(service, MODEL) == role_sha256(service, "policy", MODEL)
    assert role_sha256(service, "reward", MODEL) != model_sha256(service, MODEL)
    assert role_sha256(service, "aligner", MODEL) == model_sha256(service, MODEL)


def test_versions_are_those_installed() -> None:
    found = package_versions()
    assert found["trimtab"] == VERSION
    assert {"torch", "transformers"} <= set(found)
