"""Tiny checkpoints with random weights: llamas, LoRA adapters of them, and reward models."""

from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from tests.server.engines.transformers.conftest import SIZES, make_tokenizer


def write_llama(directory: Path, seed: int, *, tied: bool = False, layers: int = 2, **sizes: int) -> Path:
    """A language model with a chat template."""
    torch.manual_seed(seed)
    shape = {**SIZES, **sizes}
    config = LlamaConfig(vocab_size=len(make_tokenizer()), num_hidden_layers=layers, tie_word_embeddings=tied, **shape)
    LlamaForCausalLM(config).eval().save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


def write_reward(directory: Path, seed: int = 0) -> Path:
    """A sequence classifier with one label."""
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=len(make_tokenizer()), num_hidden_layers=2, num_labels=1, **SIZES)
    LlamaForSequenceClassification(config).eval().save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


def write_adapter(directory: Path, base: Path, seed: int, **settings: Any) -> Path:
    """A LoRA with random weights, large enough to change every answer."""
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", **settings)
    torch.manual_seed(seed)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(directory)
    return directory
