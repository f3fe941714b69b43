"""A converted directory is the GGUF file, number by number and token by token."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.artifacts.tiny import TEMPLATE, write_gguf
from trimtab.artifacts import ResolvedModel, resolve
from trimtab.artifacts.errors import ConversionFailed


def test_resolved_model_says_what_it_is(tiny_model: ResolvedModel) -> None:
    assert (tiny_model.id, tiny_model.kind, tiny_model.origin) == ("tiny", "chat", "gguf")
    assert tiny_model.quantised_at_source
    assert tiny_model.note


def test_logits_and_greedy_text_equal_a_direct_load(tiny_model: ResolvedModel, tiny_gguf: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    direct = AutoModelForCausalLM.from_pretrained(str(tiny_gguf.parent), gguf_file=tiny_gguf.name, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(str(tiny_model.path), dtype=torch.float32)
    ids = torch.arange(3, 40).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(direct(ids).logits, ours(ids).logits)
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 2}
    assert torch.equal(direct.generate(ids, **options), ours.generate(ids, **options))


def test_weights_are_float32_and_the_compute_type_is_bfloat16(tiny_model: ResolvedModel) -> None:
    (weights,) = tiny_model.path.glob("*.safetensors")
    with safe_open(weights, "np") as tensors:
        assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"F32"}  # noqa: SIM118
    config = json.loads((tiny_model.path / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "quantization_config" not in config
    assert json.loads((tiny_model.path / "generation_config.json").read_text())["eos_token_id"] == [2]


def test_tokenizer_adds_bos_splits_digits_and_keeps_the_template(tiny_model: ResolvedModel) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model.path))
    assert tokenizer("hello")["input_ids"][0] == tokenizer.bos_token_id == 1
    assert tokenizer.convert_ids_to_tokens(tokenizer("hello 42", add_special_tokens=False)["input_ids"]) == [
        "hello",
        "Ġ",
        "4",
        "2",
    ]
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.model_max_length == 512
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.slow
def test_a_float_file_without_template_is_a_base_model_in_its_own_type(tmp_path: Path, cache: Path) -> None:
    model = resolve(str(write_gguf(tmp_path / "plain.gguf", quantised=False, template=None)))
    assert (model.kind, model.quantised_at_source, model.note) == ("base", False, "")
    assert json.loads((model.path / "config.json").read_text())["dtype"] == "float32"


def test_a_damaged_file_is_a_clear_error_and_leaves_nothing(tmp_path: Path, cache: Path, tiny_gguf: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(tiny_gguf.read_bytes()[:5000])
    with pytest.raises(ConversionFailed, match=r"damaged\.gguf could not be converted"):
        resolve(str(damaged))
    assert not list((cache / "staging").iterdir())
    assert not (cache / "models").exists()
