"""Linear layers whose weights lie as oneDNN reads them, for encoders on CPU.

A query is a dozen tokens, and most of its time goes into reading weights that are laid out anew at each call. Laid out once
they take about half as long on the default encoder; results differ in the last bits of float32. Costs a second copy of them.
"""

import torch
from torch import nn


class PackedLinear(nn.Module):  # type: ignore[misc]  # torch is not read by the type checker
    """A float32 linear layer for inference on CPU; it cannot be trained or moved. Some models read its `weight`: that stays."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Shape (..., in) to (..., out)."""
        shape = (*inputs.shape[:-1], -1)
        flat = inputs.reshape(-1, inputs.shape[-1])
        done: torch.Tensor = torch.ops.mkldnn._linear_pointwise(flat, self._packed, self.bias, "none", [], "")
        return done.reshape(shape)


def can_pack() -> bool:
    """Whether this build of torch has what it takes."""
    operators = torch.ops.mkldnn
    needed = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(operators, name) for name in needed)


def pack(model: nn.Module) -> None:
    """Put a PackedLinear in the place of each float32 linear layer on CPU, where torch can."""
    if not can_pack():
        return
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child.weight.device.type == "cpu" and child.weight.dtype == torch.float32:
                setattr(module, name, PackedLinear(child))
