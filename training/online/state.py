"""What a checkpoint of an online run holds beside the policy: numbers of the run, and the value model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trimtab.training.errors import OutputError
from trimtab.training.online.actor import trained

NUMBERS, VALUES = "online.json", "value.safetensors"


def save_state(folder: Path, numbers: Mapping[str, Any], critic: nn.Module | None) -> None:
    """Write both beside a checkpoint's weights."""
    from safetensors.torch import save_file

    (folder / NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")
    if critic is not None:
        save_file({name: one.detach().contiguous() for name, one in trained(critic).items()}, folder / VALUES)


def load_state(folder: Path, critic: nn.Module | None) -> dict[str, Any]:
    """The numbers; the value model takes its weights. Raises OutputError where a file is missing or of another run."""
    from safetensors.torch import load_file

    try:
        numbers: dict[str, Any] = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
        stored = {} if critic is None else load_file(folder / VALUES)
    except (OSError, ValueError) as error:
        raise OutputError(f"{str(folder)!r} is no checkpoint of an online run: {error}") from error
    own = {} if critic is None else trained(critic)
    if set(stored) != set(own):
        raise OutputError(f"{str(folder / VALUES)!r} is of another value model")
    for name, parameter in own.items():
        parameter.data.copy_(stored[name])
    return numbers
