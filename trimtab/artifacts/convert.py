"""One GGUF file made into a Hugging Face directory: `python -m trimtab.artifacts.convert GGUF OUTPUT`.

It runs in a process of its own, so that it can be killed, its memory returns at once and a crash in native code harms
nobody. It writes into a directory that the caller publishes afterwards, and knows nothing of caches or locks.

Weights are stored as float32, the type that GGUF is dequantised to. A block-quantised weight is a float16 scale times a
small integer plus an offset, which needs more than the 8 significant bits of bfloat16 and the 11 of float16, so that any
narrower file would be quantised a second time. `dtype` in config.json names the type to compute in when nobody asks for
another: bfloat16, unless the file itself was not quantised.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TYPES_LINE = "tensor types: "
"""Start of the line of output that lists the types of the file's matrices."""

PROBE = "Hello world, in 2024 it cost $12345.\n\tÜber 中文 <b>x</b>"
"""Text whose token ids must survive saving and loading the tokenizer."""


class GgufMetadata:
    """The key-value part of a GGUF file and the types of its tensors."""

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        self._reader = GGUFReader(path)

    def get(self, key: str) -> Any:
        """Value of `key` (a number, string, bool or list), None where the file does not have it."""
        field = self._reader.get_field(key)
        return None if field is None else field.contents()

    def tensor_types(self) -> frozenset[str]:
        """Names of the types of the matrices, such as `Q4_1` or `F16`."""
        return frozenset(t.tensor_type.name for t in self._reader.tensors if len(t.shape) > 1)

    def compute_dtype(self) -> str:
        """Type to compute in by default: the file's own if it is one float type, else bfloat16."""
        own = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
        types = self.tensor_types()
        return own.get(next(iter(types)), "bfloat16") if len(types) == 1 else "bfloat16"

    def adds_bos(self) -> bool:
        """Whether a text starts with BOS; where the file is silent, as llama.cpp has it: SentencePiece models do."""
        stated = self.get("tokenizer.ggml.add_bos_token")
        return bool(self.get("tokenizer.ggml.model") == "llama" if stated is None else stated)

    def end_ids(self) -> list[int]:
        """Ids that end an answer: end of sequence and, in some chat models, end of turn."""
        ids = (self.get("tokenizer.ggml.eos_token_id"), self.get("tokenizer.ggml.eot_token_id"))
        return list(dict.fromkeys(int(i) for i in ids if i is not None))


def save_tokenizer(gguf: Path, metadata: GgufMetadata, output: Path, max_length: int) -> None:
    """Write the tokenizer, with its chat template if the file carries one, and check that it loads the same.

    Two things that the file states are lost by transformers' own conversion and set here: the BOS token in front of a
    text, and SmolLM's splitting of numbers into single digits.
    Raises ValueError if the saved tokenizer gives other ids.
    """
    from tokenizers import pre_tokenizers, processors
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    backend = loaded.backend_tokenizer
    if metadata.get("tokenizer.ggml.pre") == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    if metadata.adds_bos():
        backend.post_processor = processors.TemplateProcessing(
            single=f"{loaded.bos_token} $A",
            pair=f"{loaded.bos_token} $A {loaded.bos_token} $B:1",
            special_tokens=[(loaded.bos_token, loaded.bos_token_id)],
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        **{name: str(token) for name, token in loaded.special_tokens_map.items() if isinstance(token, str)},
    )
    tokenizer.chat_template = metadata.get("tokenizer.chat_template")
    tokenizer.save_pretrained(output)
    again = AutoTokenizer.from_pretrained(str(output), local_files_only=True)
    expected = backend.encode(PROBE).ids
    if again(PROBE)["input_ids"] != expected or again(PROBE, add_special_tokens=False)["input_ids"] != (
        expected[1:] if metadata.adds_bos() else expected
    ):
        raise ValueError("the saved tokenizer gives other token ids than the file's own")


def save_model(gguf: Path, metadata: GgufMetadata, output: Path) -> int:
    """Write weights, config.json and generation_config.json; returns the context length in tokens."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.generation_config = GenerationConfig(
        bos_token_id=metadata.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=metadata.end_ids() or None,
        pad_token_id=metadata.get("tokenizer.ggml.padding_token_id"),
    )
    model.save_pretrained(output)
    config_path = output / "config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["dtype"] = metadata.compute_dtype()
    config.pop("_model_name_or_path", None)
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return int(config.get("max_position_embeddings", 2048))


def convert(gguf: Path, output: Path) -> None:
    """Make `output` a directory of safetensors, tokenizer and configs from the file `gguf`.

    Raises OSError if the disk is full, ValueError or KeyError where transformers does not know the architecture.
    """
    output.mkdir(exist_ok=True)
    metadata = GgufMetadata(gguf)
    sys.stdout.write(f"{TYPES_LINE}{' '.join(sorted(metadata.tensor_types()))}\n")
    sys.stdout.flush()
    max_length = save_model(gguf, metadata, output)
    save_tokenizer(gguf, metadata, output, max_length)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
