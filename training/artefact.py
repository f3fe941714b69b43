"""The result of a run: a Hugging Face directory that `trimtab serve` loads as it is."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from trimtab.artifacts import write_correction
from trimtab.artifacts.checkpoint import Manifest, TrainingFacts, write_manifest
from trimtab.training.data.examples import Example
from trimtab.training.data.hindsight import MARKERS
from trimtab.training.methods.base import Artefact
from trimtab.training.models import Loaded
from trimtab.training.networks import bare
from trimtab.training.settings import TrainSettings
from trimtab.training.workspace import publish

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def write_artefact(
    folder: Path,
    loaded: Loaded,
    settings: TrainSettings,
    kind: Artefact,
    facts: TrainingFacts,
    end_ids: Iterable[int],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Weights, tokenizer with its template, generation config, correction format and manifest. Raises OutputError.

    A reward model's adapter is merged into its base: scoring engines take no adapters.
    weights: the network's, where its own parameters are only a part of them (sharded over processes).
    """

    def write(draft: Path) -> None:
        network = loaded.network
        if kind == "reward" and settings.lora is not None:
            network = network.merge_and_unload()
        _save(network, draft, DTYPES[settings.save_dtype], end_ids, weights)
        loaded.tokenizer.save_pretrained(draft)
        if kind == "aligner":
            write_correction(draft, "question_answer")

    publish(folder, write)
    write_manifest(folder, manifest(folder, settings, kind), facts)


def manifest(folder: Path, settings: TrainSettings, kind: Artefact) -> Manifest:
    """How the directory is served: by the method's kind, and whether it is an adapter."""
    name = folder.resolve().name
    match kind, settings.lora:
        case "policy", None:
            return Manifest.of_policy(name)
        case "policy", _:
            template = "chat_template.jinja" if settings.chat_template else None
            return Manifest.of_adapter(name, base=settings.model, chat_template=template)
        case "aligner", lora if lora is not None:
            return Manifest.of_role_adapter("aligner", name, base=settings.model)
        case role, _:
            return Manifest.of_role(role)


def _save(
    network: Any, draft: Path, dtype: torch.dtype, end_ids: Iterable[int], weights: Mapping[str, torch.Tensor] | None
) -> None:
    base = bare(network)
    if getattr(base, "generation_config", None) is not None and base.can_generate():
        base.generation_config.eos_token_id = sorted(end_ids)
    base.config.use_cache = True
    state = weights if dtype == torch.float32 else _cast(network.state_dict() if weights is None else weights, dtype)
    before, base.config.dtype = base.config.dtype, dtype
    network.save_pretrained(draft, state_dict=state)
    base.config.dtype = before


def _cast(state: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The same in another dtype; tensors that share their memory share it afterwards."""
    made: dict[int, torch.Tensor] = {}
    return {name: made.setdefault(tensor.data_ptr(), tensor.to(dtype)) for name, tensor in state.items()}


def data_hash(examples: Iterable[Example]) -> str:
    """SHA-256 of everything that examples hold, hexadecimal."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.prompt, example.branches, example.preference, example.margin, example.weight)).encode())
    return digest.hexdigest()


def markers_of(method: str) -> tuple[str, ...]:
    """What conditions an answer of a method, the better first."""
    return tuple(text for pair in MARKERS for text in (pair.better, pair.worse)) if method == "coh" else ()
