"""Packed layers compute what the layers they replace do."""

import pytest
import torch
from torch import nn

from trimtab.retrieval.packed import PackedLinear, can_pack, pack

needs_packing = pytest.mark.skipif(not can_pack(), reason="this build of torch packs no weights")


class Two(nn.Module):  # type: ignore[misc]  # torch is not read by the type checker
    """Two layers, one of them inside another module."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(24, 40)
        self.inner = nn.Sequential(nn.GELU(), nn.Linear(40, 16, bias=False))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        done: torch.Tensor = self.inner(self.first(inputs))
        return done


@needs_packing
@pytest.mark.parametrize("shape", [(1, 24), (12, 24), (3, 7, 24), (2, 300, 24)])
def test_same_results(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, inputs = Two(), torch.randn(shape)
    with torch.inference_mode():
        expected = model(inputs)
        pack(model)
        torch.testing.assert_close(model(inputs), expected, rtol=1e-5, atol=1e-6)
    assert isinstance(model.first, PackedLinear)
    assert isinstance(model.inner[1], PackedLinear)
    assert model.first.weight.shape == (40, 24)


def test_other_precisions_stay() -> None:
    model = Two().to(torch.bfloat16)
    pack(model)
    assert type(model.first) is nn.Linear


def test_nothing_is_packed_where_torch_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.retrieval.packed.can_pack", lambda: False)
    model = Two()
    pack(model)
    assert type(model.first) is nn.Linear
