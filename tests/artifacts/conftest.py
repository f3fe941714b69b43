"""Fixtures of the artifact tests: a fresh cache, a tiny GGUF file and its conversion, made once a session."""

from pathlib import Path

import pytest

from tests.artifacts.tiny import write_gguf
from trimtab.artifacts import ResolvedModel, resolve


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, named in the environment; no licence is accepted."""
    root = tmp_path / "cache"
    monkeypatch.setenv("TRIMTAB_CACHE_DIR", str(root))
    monkeypatch.delenv("TRIMTAB_ACCEPT_LICENCE", raising=False)
    return root


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place where pip finds anything."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Q4_1 llama."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", add_bos=True)


@pytest.fixture(scope="session")
def tiny_model(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    """The converted form of `tiny_gguf`."""
    return resolve(str(tiny_gguf), cache_dir=tmp_path_factory.mktemp("session-cache"))
