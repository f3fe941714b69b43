"""A loaded model under a LoRA adapter: a network of its own over the same base weights, so that an adapter costs its own size.

The base network is never changed, and each adapter decodes in batches of its own: no batch mixes two, and none shares another's
keys and values.
"""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.strategies.core.errors import ConfigError

PARAM = "engine.lora"
WEIGHTS = "adapter_model.safetensors"
SETTINGS = "adapter_config.json"


def adapted(model: LoadedModel, directory: Path, *, name: str) -> LoadedModel:
    """The model under an adapter, computed as peft does, unmerged. Raises ConfigError for what is no adapter of this model."""
    _check(directory, name)
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ConfigError(
            f"lora {name!r}: adapters on the transformers engine need peft: pip install 'trimtab[train]'", param=PARAM
        ) from error
    shared = {id(weight): weight for weight in model.network.parameters()}
    try:
        whole = PeftModel.from_pretrained(
            copy.deepcopy(model.network, shared), str(directory), torch_device=str(model.device), local_files_only=True
        )
    except Exception as error:  # the border to peft: whatever it raises, the adapter does not fit
        raise ConfigError(f"lora {name!r}: {str(directory)!r} does not fit the model: {error}", param=PARAM) from error
    _check_complete(whole, directory, name)
    return replace(model, network=whole.eval().get_base_model())


def _check(directory: Path, name: str) -> None:
    """Raise ConfigError unless the directory holds a LoRA adapter in safetensors, and nothing that would go into the base."""
    try:
        settings = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
        kind, own = settings.get("peft_type"), tuple(settings.get("modules_to_save") or ())
        stored = _stored(directory)
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        message = f"lora {name!r}: {str(directory)!r} is not an adapter directory: {error}"
        raise ConfigError(message, param=PARAM) from error
    if kind != "LORA":
        raise ConfigError(f"lora {name!r}: {str(directory)!r} holds a {kind} adapter; served are LORA ones", param=PARAM)
    for weight in sorted(stored):
        if ".lora_" not in weight and not any(f".{module}." in weight for module in own):
            message = f"lora {name!r}: {str(directory)!r} holds {weight} of the base model itself: merge it and serve that"
            raise ConfigError(message, param=PARAM)


def _stored(directory: Path) -> set[str]:
    """Names of the weights in the file."""
    with safe_open(directory / WEIGHTS, framework="pt") as file:
        return set(file.keys())


def _check_complete(whole: Any, directory: Path, name: str) -> None:
    """Raise ConfigError unless the file holds exactly the adapter's weights: peft itself only warns."""
    from peft import get_peft_model_state_dict

    wanted = set(get_peft_model_state_dict(whole, save_embedding_layers=False))
    if lost := sorted(wanted ^ _stored(directory)):
        message = (
            f"lora {name!r}: {WEIGHTS} in {str(directory)!r} is of another model: {len(lost)} weights differ, e.g. {lost[0]}"
        )
        raise ConfigError(message, param=PARAM)
