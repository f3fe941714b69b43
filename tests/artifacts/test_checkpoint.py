"""Manifests and facts beside a run's weights: what is written, read again, moved, and left alone when a write fails."""

import json
from pathlib import Path

import pytest
import yaml

from trimtab.artifacts import DEFAULT_MODEL, Manifest, TrainingFacts, read_facts, read_manifest, write_manifest
from trimtab.artifacts.checkpoint import manifest_file
from trimtab.artifacts.errors import InvalidModel, StorageFailed

FACTS = TrainingFacts(method="dpo", base=DEFAULT_MODEL, data="pairs.jsonl", data_sha256="0" * 64, settings={"beta": 0.1})


def written(directory: Path, manifest: Manifest) -> object:
    """The manifest's file as YAML."""
    return yaml.safe_load(write_manifest(directory, manifest, FACTS).read_text(encoding="utf-8"))


def test_a_policy(tmp_path: Path) -> None:
    assert written(tmp_path, Manifest.of_policy("mine")) == {"models": {"mine": {"source": "."}}}


def test_an_adapter_beside_its_base(tmp_path: Path) -> None:
    tree = written(tmp_path, Manifest.of_adapter("mine", base=DEFAULT_MODEL))
    assert tree == {"models": {DEFAULT_MODEL: {"source": DEFAULT_MODEL, "engine": {"kind": "auto", "lora": {"mine": "."}}}}}


@pytest.mark.parametrize(("base", "name"), [("organisation/model@main", "model"), ("/nowhere/model.gguf", "model.gguf")])
def test_a_base_is_called_by_the_end_of_its_source(base: str, name: str) -> None:
    assert list(Manifest.of_adapter("mine", base=base).models) == [name]


@pytest.mark.parametrize("role", ["reward", "aligner", "judge"])
def test_a_role(tmp_path: Path, role: str) -> None:
    assert written(tmp_path, Manifest.of_role(role)) == {"roles": {role: {"source": "."}}}  # type: ignore[arg-type]


def test_a_role_of_an_adapter(tmp_path: Path) -> None:
    tree = written(tmp_path, Manifest.of_role_adapter("aligner", "mine", base=DEFAULT_MODEL, base_name="base"))
    engine = {"kind": "auto", "lora": {"mine": "."}}
    assert tree == {"models": {"base": {"source": DEFAULT_MODEL, "engine": engine}}, "roles": {"aligner": "mine"}}


def test_a_base_inside_the_run_moves_with_it_and_one_outside_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "base").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path)
    for given, stored in (("run/base", "base"), ("outside", str(tmp_path / "outside"))):
        tree = written(run, Manifest.of_adapter("mine", base=given, base_name="b"))
        assert tree["models"]["b"]["source"] == stored  # type: ignore[index]


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        (Manifest.of_policy("mine"), "mine"),
        (Manifest.of_adapter("mine", base="b"), "mine"),
        (Manifest.of_role("reward"), None),
        (Manifest.of_role_adapter("aligner", "mine", base="b"), "b"),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, manifest: Manifest, name: str | None) -> None:
    write_manifest(tmp_path, manifest, FACTS)
    assert read_manifest(tmp_path) == manifest
    assert read_facts(tmp_path) == FACTS
    assert manifest.name == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.json", "trimtab.yaml"]


def test_a_directory_without_them(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    assert read_facts(tmp_path) is None


def test_keys_that_a_user_adds_do_not_hinder_reading(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text("models: {mine: {source: ., strategy: rain}}\nhttp: {port: 1}\n")
    assert read_manifest(tmp_path) == Manifest.of_policy("mine")


@pytest.mark.parametrize("content", ["models: [", "models: 3", "- 1"])
def test_a_broken_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "trimtab.yaml").write_text(content)
    with pytest.raises(InvalidModel, match=r"trimtab\.yaml"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(("content", "named"), [("{", "JSON"), (json.dumps({"method": "dpo"}), "base")])
def test_broken_facts_are_named(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(InvalidModel, match=named):
        read_facts(tmp_path)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    """The facts cannot be put into place, because a directory with something in it has their name."""
    before = write_manifest(tmp_path, Manifest.of_policy("old"), FACTS).read_text()
    (tmp_path / "training.json").unlink()
    (tmp_path / "training.json" / "x").mkdir(parents=True)
    with pytest.raises(StorageFailed, match=r"training\.json"):
        write_manifest(tmp_path, Manifest.of_policy("new"), FACTS)
    assert (tmp_path / "trimtab.yaml").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.json", "trimtab.yaml"]


def test_a_source_that_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias of the catalogue stays one where a folder of its name holds a manifest."""
    for name in ("run", DEFAULT_MODEL):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, Manifest.of_policy("mine"), FACTS)
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path)
    assert manifest_file("run") == Path("run/trimtab.yaml")
    assert [manifest_file(source) for source in ("plain", "nothing", DEFAULT_MODEL)] == [None, None, None]
