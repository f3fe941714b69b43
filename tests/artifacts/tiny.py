"""Tiny models and wheels, made on the spot: a two-layer llama as GGUF, and wheels pinned like those of the catalogue."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants
from tokenizers import pre_tokenizers

from trimtab.artifacts.catalogue import CatalogueEntry, Member, Wheel

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_gguf(
    path: Path, *, hidden: int = 64, quantised: bool = True, add_bos: bool = False, template: str | None = TEMPLATE
) -> Path:
    """A random llama with a byte-level vocabulary; matrices in Q4_1 or float32."""
    vocabulary = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "ll", "hell", "hello"]
    layers, heads, feed_forward = 2, 4, 2 * hidden
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] * len(SPECIALS) + [1] * (len(vocabulary) - len(SPECIALS)))
    writer.add_token_merges(["h e", "l l", "he ll", "hell o"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(add_bos)
    if template is not None:
        writer.add_chat_template(template)
    random = np.random.default_rng(7)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = random.normal(0.0, 0.3, (rows, columns)).astype(np.float32)
        if quantised:
            packed = quants.quantize(values, GGMLQuantizationType.Q4_1)
            writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q4_1)
        else:
            writer.add_tensor(name, values)

    matrix("token_embd.weight", len(vocabulary), hidden)
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    for layer in range(layers):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", np.ones(hidden, np.float32))
        writer.add_tensor(f"{block}.ffn_norm.weight", np.ones(hidden, np.float32))
        matrix(f"{block}.attn_q.weight", hidden, hidden)
        matrix(f"{block}.attn_k.weight", hidden // 2, hidden)
        matrix(f"{block}.attn_v.weight", hidden // 2, hidden)
        matrix(f"{block}.attn_output.weight", hidden, hidden)
        matrix(f"{block}.ffn_gate.weight", feed_forward, hidden)
        matrix(f"{block}.ffn_up.weight", feed_forward, hidden)
        matrix(f"{block}.ffn_down.weight", hidden, feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel that pip accepts, with `files` in the package `name` and an `__init__` that must never run."""
    path = folder / f"{name}-1.0.0-py3-none-any.whl"
    info = f"{name}-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('code of a wheel was run')\n")
        for file, content in files.items():
            archive.writestr(f"{name}/{file}", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def pin(path: Path, members: dict[str, tuple[str, bytes]]) -> Wheel:
    """The catalogue's wheel for the file `path`; members: path inside -> (target, content)."""
    name = path.name.split("-")[0]
    return Wheel(
        requirement=f"{name.replace('_', '-')}==1.0.0",
        filename=path.name,
        sha256=digest(path.read_bytes()),
        size=path.stat().st_size,
        members=tuple(
            Member(path=f"{name}/{inside}", target=target, sha256=digest(content), size=len(content))
            for inside, (target, content) in members.items()
        ),
    )


def gguf_entry(folder: Path, gguf: Path, *, gated: str | None = None) -> CatalogueEntry:
    """An entry whose GGUF file is cut into two wheels, which lie in `folder` afterwards."""
    content = gguf.read_bytes()
    halves = [content[: len(content) // 2], content[len(content) // 2 :]]
    wheels = [write_wheel(folder, f"tiny_part{i}", {f"part{i}": half}) for i, half in enumerate(halves)]
    return CatalogueEntry(
        alias="tiny",
        title="Tiny",
        kind="chat",
        licence="Tiny Terms",
        licence_url="https://example.org/terms",
        gated_licence=gated,
        quantised_at_source=True,
        wheels=tuple(
            pin(path, {f"part{i}": ("tiny.gguf", half)}) for i, (path, half) in enumerate(zip(wheels, halves, strict=True))
        ),
        gguf="tiny.gguf",
        gguf_sha256=digest(content),
        model_bytes=2 * len(content),
    )


def files_entry(folder: Path) -> CatalogueEntry:
    """An entry whose members are the model directory itself; its wheel lies in `folder` afterwards."""
    files = {"config.json": b'{"architectures": ["BertModel"]}', "model.safetensors": b"\0" * 300_000}
    path = write_wheel(folder, "tiny_files", files)
    return CatalogueEntry(
        alias="tiny-files",
        title="Tiny files",
        kind="encoder",
        licence="MIT",
        licence_url="https://example.org/mit",
        wheels=(pin(path, {name: (name, content) for name, content in files.items()}),),
        model_bytes=400_000,
    )
