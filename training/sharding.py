"""Sharding over GPUs: an FSDP or DeepSpeed settings file becomes the loop's arguments. The shipped ones lie in `configs/`."""

import json
from pathlib import Path
from typing import Any

from trimtab.training.errors import ConfigInvalid

CONFIGS = Path(__file__).parent / "configs"
"""Settings that ship: `fsdp.json`, `deepspeed_zero2.json`, `deepspeed_zero3.json`."""


def sharding_arguments(file: Path) -> dict[str, Any]:
    """Arguments of `transformers.TrainingArguments` for a settings file. Raises ConfigInvalid for one that is none.

    A file with an `fsdp_config` object is FSDP's; one with `zero_optimization` is DeepSpeed's.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"accelerate_config {str(file)!r} cannot be read: {error}") from error
    if not isinstance(told, dict):
        raise ConfigInvalid(f"accelerate_config {str(file)!r} must hold an object, not {type(told).__name__}")
    if "zero_optimization" in told:
        return {"deepspeed": told}
    if "fsdp_config" in told and set(told) <= {"fsdp", "fsdp_config"}:
        return told
    raise ConfigInvalid(
        f"accelerate_config {str(file)!r} is neither FSDP's (fsdp, fsdp_config) nor DeepSpeed's (zero_optimization)"
    )
