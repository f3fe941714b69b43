"""The value model that is a model of its own: a copy with one output, of the reward model or of the policy."""

import json
from pathlib import Path
from typing import Any

from trimtab.artifacts import resolve
from trimtab.artifacts.errors import ArtifactError
from trimtab.training.errors import ModelError
from trimtab.training.methods.online import PpoConfig
from trimtab.training.models import Loaded, load
from trimtab.training.networks import Scorer
from trimtab.training.online.watching import Tell
from trimtab.training.settings import TrainSettings


def value_copy(settings: TrainSettings, method: PpoConfig, policy: Loaded, tell: Tell) -> Scorer:
    """The value model of a run, trained like its policy: in full, or by an adapter of its own.

    Raises ModelError where the one that is asked for reads other tokens; ArtifactError where it cannot be had.
    """
    source = method.value_model or _reward_model(settings, method, policy) or settings.model
    tell(f"value model: from {source}")
    loaded = load(
        source,
        "scalar",
        lora=settings.lora,
        checkpointing=settings.checkpointing,
        accept_licences=settings.accept_licences,
    )
    if loaded.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
        raise ModelError(f"value_model {source!r} has another vocabulary than the policy: it cannot read its tokens")
    assert isinstance(loaded.module, Scorer)
    return loaded.module


def _reward_model(settings: TrainSettings, method: PpoConfig, policy: Loaded) -> str | None:
    """The reward model where it reads the policy's tokens with the policy's network, else None."""
    if method.reward is None:
        return None
    try:
        folder = resolve(method.reward, accept_licences=settings.accept_licences).path
    except ArtifactError:
        return None
    own = _fields(policy.source / "config.json")
    config = _fields(folder / "config.json")
    scores = any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or ())
    if not scores or config.get("model_type") != own.get("model_type") or len(config.get("id2label") or {0: 0}) != 1:
        return None
    return method.reward if _vocabulary(folder) == policy.tokenizer.get_vocab() else None


def _fields(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _vocabulary(folder: Path) -> dict[str, int] | None:
    from transformers import AutoTokenizer

    try:
        found: dict[str, int] = AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab()
    except (OSError, ValueError):
        return None
    return found
