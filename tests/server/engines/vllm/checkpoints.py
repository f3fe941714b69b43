"""Small checkpoints made for the tests: a LoRA adapter of the default model, and a reward model."""

import json
import shutil
from pathlib import Path


def write_adapter(directory: Path, model: Path) -> Path:
    """A LoRA adapter with random weights large enough to change what the model says."""
    import torch
    from safetensors.torch import save_file

    shape = json.loads((model / "config.json").read_text(encoding="utf-8"))
    hidden, layers, rank = shape["hidden_size"], shape["num_hidden_layers"], 8
    chance = torch.Generator().manual_seed(0)
    weights = {}
    for layer in range(layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.o_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(rank, hidden, generator=chance) * 0.2
        weights[f"{name}.lora_B.weight"] = torch.randn(hidden, rank, generator=chance) * 0.2
    directory.mkdir(parents=True)
    save_file(weights, str(directory / "adapter_model.safetensors"))
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 16,
        "target_modules": ["o_proj"],
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def write_reward_model(directory: Path, model: Path) -> Path:
    """A two-layer sequence classifier with one label, random weights and the default model's tokenizer."""
    import torch
    from transformers import AutoConfig, LlamaForSequenceClassification

    config = AutoConfig.from_pretrained(model)
    config.update({"num_hidden_layers": 2, "num_labels": 1, "pad_token_id": 2, "tie_word_embeddings": False})
    config.architectures = ["LlamaForSequenceClassification"]
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(model / name, directory / name)
    return directory
