"""Attention of a decoding step that reads grouped keys and values where they lie.

Under a padding mask the library first repeats every key and value head for each of its query heads; in a decoding step of a
batch that copy takes longer than the attention itself. One query a row needs no copy: its query heads of a group stand in the
place of query positions. Everything else is the library's own attention.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "trimtab_grouped"


def grouped_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """(rows, queries, heads, dim) from query (rows, heads, queries, dim), key and value (rows, groups, columns, dim)."""
    rows, heads, queries, _ = query.shape
    one_mask = attention_mask is not None and attention_mask.shape[1:3] == (1, 1)
    if queries != 1 or not one_mask or heads == key.shape[1] or kwargs.get("position_bias") is not None:
        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return attended
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], query.shape[-1])
    output = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scaling)
    return output.reshape(rows, 1, heads, value.shape[-1]), None


def use_grouped_attention(network: Any) -> None:
    """Lets a network that runs on scaled dot-product attention use this one; others stay as they are."""
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    if network.config.get_text_config(decoder=True)._attn_implementation == "sdpa":
        network.set_attn_implementation(NAME)
