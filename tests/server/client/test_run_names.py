"""What a private server calls the model that its client asks for: a run's directory names it itself."""

from pathlib import Path

import pytest

from trimtab.artifacts import DEFAULT_MODEL, Manifest, TrainingFacts, write_manifest
from trimtab.server.client.options import name_of


@pytest.mark.parametrize("source", [DEFAULT_MODEL, "org/model", "./nowhere"])
def test_other_sources_are_names(source: str) -> None:
    assert name_of(source) == source


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        (Manifest.of_policy("mine"), "mine"),
        (Manifest.of_adapter("mine", base="org/base"), "mine"),
        (Manifest.of_role_adapter("aligner", "mine", base="org/base"), "base"),
        (Manifest.of_role("reward"), ""),
    ],
)
def test_a_run_is_asked_by_the_name_it_trained_for(tmp_path: Path, manifest: Manifest, name: str) -> None:
    write_manifest(tmp_path, manifest, TrainingFacts(method="sft", base="org/base"))
    assert name_of(str(tmp_path)) == name


def test_no_model_is_what_the_server_puts_first() -> None:
    assert name_of(None) == ""
