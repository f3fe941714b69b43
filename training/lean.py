"""A gated feed-forward layer that keeps two products for the backward pass in place of four.

The activated gate and its product with the other half are computed again: cheap next to the matrix products, and a quarter of
what a decoder layer holds.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")


class _GatedProduct(torch.autograd.Function):
    """act(gate) * up, keeping gate and up alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return activation(gate) * up

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        with torch.enable_grad():
            again = gate.detach().requires_grad_()
            activated = ctx.activation(again)
        (of_gate,) = torch.autograd.grad(activated, again, gradient * up)
        return of_gate, gradient * activated.detach(), None


class _DownProduct(torch.autograd.Function):
    """down(act(gate) * up) of a plain linear `down`, keeping gate and up alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        ctx.activation = activation
        return (activation(gate) * up) @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        with torch.enable_grad():
            again = gate.detach().requires_grad_()
            activated = ctx.activation(again)
        of_weight = None
        if ctx.needs_input_grad[2]:
            product = (activated.detach() * up).flatten(0, -2)
            of_weight = gradient.flatten(0, -2).t() @ product
        of_product = gradient @ weight
        (of_gate,) = torch.autograd.grad(activated, again, of_product * up)
        return of_gate, of_product.mul_(activated.detach()), of_weight, None


def _forward(self: Any, x: Tensor) -> Tensor:
    gate, up = self.gate_proj(x), self.up_proj(x)
    down = self.down_proj
    if type(down) is nn.Linear and down.bias is None and gate.dtype == down.weight.dtype and not torch.is_autocast_enabled():
        result: Tensor = _DownProduct.apply(gate, up, down.weight, self.act_fn)
    else:
        result = down(_GatedProduct.apply(gate, up, self.act_fn))
    return result


def keep_less(network: nn.Module) -> int:
    """Make the gated feed-forward layers of a network keep less; how many there were.

    A layer is taken where its forward is the usual down(act(gate(x)) * up(x)): the same numbers before and after, by a trial.
    """
    count = 0
    for module in network.modules():
        if all(hasattr(module, part) for part in PARTS) and _is_usual(module):
            module.forward = MethodType(_forward, module)
            count += 1
    return count


@torch.no_grad()
def _is_usual(module: Any) -> bool:
    weight = module.gate_proj.weight
    if not torch.is_floating_point(weight):
        return False
    trial = torch.linspace(-1, 1, 2 * module.gate_proj.in_features, dtype=weight.dtype, device=weight.device)
    trial = trial.view(1, 2, -1)
    return bool(torch.allclose(module(trial), _forward(module, trial), rtol=1e-4, atol=1e-5))
