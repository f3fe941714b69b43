"""What a model directory is, read from its files alone: nothing is loaded and nothing in it is run."""

import json
from pathlib import Path
from typing import Any

from trimtab.artifacts.catalogue import ModelKind
from trimtab.artifacts.errors import InvalidModel

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def inspect_directory(directory: Path, source: str) -> ModelKind:
    """The kind of the model in `directory`.

    source: what the user wrote, for messages.
    Raises InvalidModel where config.json or safetensors weights are missing, or the weights are pickled.
    """
    config = _read_json(directory / "config.json", source)
    if not any(directory.rglob("*.safetensors")):
        pickled = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
        if pickled:
            raise InvalidModel(
                f"{source!r} holds only pickled weights ({', '.join(pickled[:3])}), which can run code when they are "
                "loaded; convert them to safetensors (`save_pretrained` of transformers writes them)"
            )
        raise InvalidModel(f"{source!r} holds no *.safetensors weights")
    if (directory / "modules.json").is_file():
        return "encoder"
    if any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or ()):
        return "classifier"
    return "chat" if _has_chat_template(directory) else "base"


def _has_chat_template(directory: Path) -> bool:
    """Whether a chat template lies in the directory, as a file or inside the tokenizer's configuration."""
    if (directory / "chat_template.jinja").is_file() or (directory / "chat_template.json").is_file():
        return True
    path = directory / "tokenizer_config.json"
    return path.is_file() and bool(_read_json(path, str(directory)).get("chat_template"))


def _read_json(path: Path, source: str) -> dict[str, Any]:
    """A JSON object from a file of the model `source`."""
    if not path.is_file():
        if (path.parent / "adapter_config.json").is_file():
            raise InvalidModel(f"{source!r} holds a LoRA adapter, not a model: merge it, or serve it on its base model")
        raise InvalidModel(f"{source!r} is no model directory: it has no {path.name}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidModel(f"{path.name} in {source!r} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidModel(f"{path.name} in {source!r} must hold a JSON object")
    return content
