"""New weights for a loaded model: read and checked beside the running engine, then copied in place between two steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from trimtab.server.engines.checkpoint_files import check_checkpoint, check_shapes
from trimtab.server.engines.transformers.model import LoadedModel, read_network
from trimtab.server.engines.transformers.row import Sink
from trimtab.strategies.core.errors import RequestRefused

Tensors = Mapping[str, torch.Tensor]


@dataclass(eq=False, slots=True)
class WeightJob:
    """A request to compute with other weights."""

    request_id: str
    tensors: Tensors
    """By name, those of the model and no others."""
    sink: Sink
    ended: bool = False


def read_weights(directory: Path, model: LoadedModel) -> Tensors:
    """The weights of a checkpoint, on the CPU in float32. Raises RequestRefused where they are not this model's."""
    check_checkpoint(directory)
    try:
        network, missing = read_network(directory)
    except Exception as error:  # the border to the library: whatever it raises, the checkpoint cannot be read
        raise RequestRefused(f"path: the weights in {str(directory)!r} cannot be read: {error}", param="path") from error
    if missing:
        raise RequestRefused(f"path: {str(directory)!r} lacks weights: {', '.join(missing[:5])}", param="path")
    found, own = network.state_dict(), model.network.state_dict()
    check_shapes({n: tuple(t.shape) for n, t in found.items()}, {n: tuple(t.shape) for n, t in own.items()}, directory)
    if _first_names(found) != _first_names(own):
        raise RequestRefused(f"path: {str(directory)!r} ties other weights together than this model does", param="path")
    return dict(found)


def _first_names(tensors: Tensors) -> dict[str, str]:
    """Each name with the first one of the same memory."""
    first: dict[int, str] = {}
    return {name: first.setdefault(tensor.data_ptr(), name) for name, tensor in tensors.items()}


def load_weights(model: LoadedModel, tensors: Tensors) -> None:
    """Copy the weights into the model's own, in its dtype and on its device."""
    with torch.no_grad():
        for name, own in model.network.state_dict().items():
            own.copy_(tensors[name])
