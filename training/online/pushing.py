"""New weights for the policy's engine: written whole, an adapter merged in, into one of two directories by turns."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from trimtab.training.errors import OutputError
from trimtab.training.networks import bare
from trimtab.training.online.protocols import Weights

FOLDER = ".weights"
"""Where they lie in the directory of a run."""


class Pusher:
    """Pushes a network's weights as they are."""

    def __init__(self, network: Any, folder: Path, weights: Weights) -> None:
        self._network, self._folder, self._weights = network, folder, weights
        self._turn = 0

    def push(self) -> int:
        """The version of the weights that are sampled from here on. Raises OutputError, RolloutError."""
        directory = self._folder / str(self._turn)
        write_weights(self._network, directory)
        version = self._weights.push(directory)
        self._turn = 1 - self._turn
        return version

    def clear(self) -> None:
        """Remove what the engine no longer reads: all but the directory pushed last."""
        shutil.rmtree(self._folder / str(self._turn), ignore_errors=True)


def write_weights(network: Any, directory: Path) -> None:
    """A policy as a model directory of its own, in float32. Raises OutputError."""
    shutil.rmtree(directory, ignore_errors=True)
    base = bare(network)
    try:
        directory.mkdir(parents=True)
        with _no_bar():
            base.save_pretrained(directory, state_dict=merged(network) if base is not network else None)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"the policy's weights cannot be written to {str(directory)!r}: {error}") from error


@contextmanager
def _no_bar() -> Iterator[None]:
    """No progress bar of transformers: weights are written again and again."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@torch.no_grad()
def merged(network: Any) -> dict[str, Tensor]:
    """The weights of a network with its adapter `default` added in; the network stays as it is.

    Merging in place and back would round the frozen weights a little each time.
    """
    base = bare(network)
    layers = {name: layer for name, layer in base.named_modules() if hasattr(layer, "base_layer")}
    found = {}
    for name, tensor in base.state_dict().items():
        owner = next((part for part in layers if name.startswith(part + ".")), None)
        if owner is None:
            found[name] = tensor
            continue
        inner = name.removeprefix(owner + ".")
        if inner.startswith("base_layer."):
            delta = layers[owner].get_delta_weight("default") if inner == "base_layer.weight" else 0
            found[f"{owner}.{inner.removeprefix('base_layer.')}"] = tensor + delta
    return found
