"""Tiny models with random weights and a byte-level tokenizer, made once a session, and engines over them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.model import LoadedModel, load
from trimtab.server.settings import TransformersConfig

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<|bos|>", "<|im_start|>", "<|im_end|>"]
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "initializer_range": 0.3,
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One id a byte behind three control tokens, the first of which begins raw text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate([*SPECIALS, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    beginning = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), beginning])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def llama_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **SIZES)
    LlamaForCausalLM(config).eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def gemma_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers with a window of 8 tokens and full ones in turn."""
    path = tmp_path_factory.mktemp("gemma")
    torch.manual_seed(1)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=4,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
        query_pre_attn_scalar=16,
        **SIZES,
    )
    Gemma3ForCausalLM(config).eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


async def opened(path: Path, **config: object) -> TransformersEngine:
    engine = TransformersEngine(path, TransformersConfig(dtype="float32", device="cpu", **config), name="tiny")  # type: ignore[arg-type]
    await engine.start()
    return engine


def started(path: Path, **config: object) -> TransformersEngine:
    return asyncio.run(opened(path, **config))


@pytest.fixture(scope="module")
def engine(llama_path: Path) -> Iterator[TransformersEngine]:
    engine = started(llama_path, max_batch_size=4)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def gemma(gemma_path: Path) -> Iterator[TransformersEngine]:
    engine = started(gemma_path, max_batch_size=4)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="session")
def model(llama_path: Path) -> LoadedModel:
    return load(llama_path, TransformersConfig(dtype="float32", device="cpu"))


@pytest.fixture(scope="session")
def gemma_model(gemma_path: Path) -> LoadedModel:
    return load(gemma_path, TransformersConfig(dtype="float32", device="cpu"))
