"""Grouped attention is the library's attention, and a loaded model uses it."""

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from trimtab.server.engines.transformers.attention import NAME, grouped_attention
from trimtab.server.engines.transformers.model import LoadedModel


@pytest.mark.parametrize(("queries", "groups"), [(1, 2), (1, 6), (1, 1), (3, 2)])
@pytest.mark.parametrize("masked", [True, False])
def test_it_is_the_librarys(queries: int, groups: int, masked: bool) -> None:
    torch.manual_seed(0)
    module = SimpleNamespace(num_key_value_groups=6 // groups, is_causal=True)
    query = torch.randn(4, 6, queries, 16)
    key, value = torch.randn(4, groups, 9, 16), torch.randn(4, groups, 9, 16)
    pads = torch.tensor([0, 3, 8 - queries, 1]).view(4, 1, 1, 1)
    mask = (torch.arange(9) >= pads).expand(4, 1, queries, 9) if masked else None
    ours, _ = grouped_attention(module, query, key, value, mask, scaling=0.3)
    theirs, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_loaded_models_use_it(model: LoadedModel, gemma_model: LoadedModel) -> None:
    for loaded in (model, gemma_model):
        assert loaded.network.config._attn_implementation == NAME
