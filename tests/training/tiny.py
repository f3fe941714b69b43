"""A tiny llama with a byte-level tokenizer on disk, and rows to train it on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trimtab.training.data.examples import Branch, Example

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate([*SPECIALS, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>", additional_special_tokens=SPECIALS[:2]
    )
    made.chat_template = TEMPLATE
    return made


def write_llama(path: Path, *, tied: bool = True) -> Path:
    torch.manual_seed(0)
    made = tokenizer()
    config = LlamaConfig(vocab_size=len(made), num_hidden_layers=2, tie_word_embeddings=tied, initializer_range=0.1, **SIZES)
    LlamaForCausalLM(config).save_pretrained(path)
    made.save_pretrained(path)
    return path


def write_gemma(path: Path, *, window: int = 6) -> Path:
    """Layers with a window and full ones in turn, and capped logits."""
    torch.manual_seed(1)
    made = tokenizer()
    config = Gemma3TextConfig(
        vocab_size=len(made),
        num_hidden_layers=2,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
        final_logit_softcapping=5.0,
        initializer_range=0.1,
        **SIZES,
    )
    Gemma3ForCausalLM(config).save_pretrained(path)
    made.save_pretrained(path)
    return path


def random_example(generator: torch.Generator, branches: Sequence[int], *, prompt: int = 7, line: int = 0) -> Example:
    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 200, (count,), generator=generator).tolist())

    made = tuple(Branch(ids(size), score=float(-place)) for place, size in enumerate(branches))
    return Example(ids(prompt), made, line=line)


PAIRS = [
    ("Name a fruit.", "An apple.", "No."),
    ("Is tea warm?", "It mostly is.", "Who asks?"),
    ("Say hello.", "Hello, how are you?", "Hm."),
    ("What is two and two?", "Four.", "It is five, I think."),
    ("Name a colour.", "Green.", "Why?"),
    ("Where do fish live?", "In water.", "On the moon, friend."),
]


def write_pairs(path: Path, *, repeat: int = 1) -> Path:
    """Preference rows; each is another row where they repeat."""
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{prompt}{' ' * turn}"}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for turn in range(repeat)
        for prompt, chosen, rejected in PAIRS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_lists(path: Path) -> Path:
    rows = [
        {"prompt": prompt, "responses": [{"content": text, "score": score} for text, score in ((a, 1.0), (b, 0.2), ("x", 0.0))]}
        for prompt, a, b in PAIRS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
