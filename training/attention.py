"""Attention over a batch of trees: a prompt sees the batch's prefix and itself, a branch these and itself, and nothing else.

It is registered with transformers under the name `trimtab_trees`; a model loaded with it is called with `trees=` and one row
of tokens without padding. Sliding windows are honoured. Which models it fits, `fits` says; the others read padded rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from trimtab.training.data.batch import Tree

NAME = "trimtab_trees"


DENSE_WEIGHTS = 512 * 512
"""Up to this many weights a head, a tree's attention is computed whole on a CPU: faster than in blocks, and they fit."""


@dataclass(frozen=True, slots=True)
class TreeMasks:
    """The trees of a batch and their masks, made once for all layers."""

    prefix: int
    """Tokens before the first tree, which every tree sees."""
    trees: tuple[Tree, ...]
    """The prefix is the first of them where there is one."""
    masks: tuple[Tensor | None, ...]
    """Of each tree, (tokens, tokens seen): bool, True sees, or 0 and -inf where attention is computed whole; None = causal."""

    @classmethod
    def of(cls, prefix: int, trees: Sequence[Tree], device: torch.device) -> "TreeMasks":
        """The masks of some trees behind a prefix."""
        own = (Tree(prefix, ()),) if prefix else ()
        masks = [_mask_for(tree, 0, device) for tree in own] + [_mask_for(tree, prefix, device) for tree in trees]
        return cls(prefix, (*own, *trees), tuple(masks))


def _mask_for(tree: Tree, prefix: int, device: torch.device) -> Tensor | None:
    if _is_dense(tree, prefix, device):
        return _additive(_mask(tree, prefix))
    return None if len(tree.branches) < 2 and not prefix else _mask(tree, prefix).to(device)


def _is_dense(tree: Tree, prefix: int, device: torch.device) -> bool:
    return device.type == "cpu" and tree.tokens * (prefix + tree.tokens) <= DENSE_WEIGHTS


def _mask(tree: Tree, prefix: int) -> Tensor:
    """Which tokens of the prefix and the tree each token of the tree sees, (tokens, prefix + tokens)."""
    segment = torch.repeat_interleave(torch.arange(len(tree.branches) + 1), torch.tensor([tree.prompt, *tree.branches]))
    same = (segment[None] == 0) | (segment[None] == segment[:, None])
    return torch.cat([same.new_ones(tree.tokens, prefix), same.tril_()], dim=1)


def _additive(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill_(~mask, float("-inf"))


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    trees: TreeMasks | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """(1, T, heads, size) of queries (1, heads, T, size) and keys and values (1, key heads, T, size).

    The signature is that of transformers' attention functions.
    """
    if trees is None:
        raise TypeError(f"a model with attention {NAME!r} must be called with trees=")
    outputs = [
        _of_tree(tree, mask, q, k, v, scaling, dropout, sliding_window)
        for tree, mask, q, k, v in _parts(trees, query, key, value)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _parts(trees: TreeMasks, *row: Tensor) -> Iterator[tuple[Tree, Tensor | None, Tensor, Tensor, Tensor]]:
    """Each tree with its mask, its queries, and the keys and values it sees."""
    sizes = [tree.tokens for tree in trees.trees]
    queries, keys, values = (t.split(sizes, dim=2) for t in row)
    for place, (tree, mask) in enumerate(zip(trees.trees, trees.masks, strict=True)):
        if trees.prefix and place:
            seen = [torch.cat([own[0], own[place]], dim=2) for own in (keys, values)]
        else:
            seen = [keys[place], values[place]]
        yield tree, mask, queries[place], *seen


def _of_tree(
    tree: Tree,
    mask: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> Tensor:
    prefix = key.shape[2] - query.shape[2]
    if window is not None and prefix + tree.prompt + max(tree.branches, default=0) > window:
        mask = _within_window(tree, prefix, window, query.device)
    if mask is None or mask.dtype == torch.bool:
        return _attention(query, key, value, mask, scaling, dropout)
    if dropout or torch.is_autocast_enabled("cpu") or query.dtype != torch.float32:
        return _attention(query, key, value, mask == 0, scaling, dropout)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    whole: Tensor = _Dense.apply(query, key, value, mask, scale)
    return whole


class _Dense(torch.autograd.Function):
    """Attention with its weights kept, in plain matrix products over the query heads of each key head together."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        heads, keys = query.shape[1], key.shape[1]
        grouped = query[0].reshape(keys, -1, query.shape[-1])
        added = mask.repeat(heads // keys, 1).expand(keys, -1, -1)
        weights = torch.baddbmm(added, grouped, key[0].transpose(1, 2), alpha=scale).softmax(-1)
        output = torch.bmm(weights, value[0])
        ctx.save_for_backward(grouped, key, value, weights, output)
        ctx.scale = scale
        return output.view(query.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, output = ctx.saved_tensors
        grouped = gradient[0].reshape(output.shape)
        of_value = torch.bmm(weights.transpose(1, 2), grouped)
        slope = torch.bmm(grouped, value[0].transpose(1, 2))
        slope.sub_((grouped * output).sum(-1, keepdim=True)).mul_(weights)
        of_query = torch.bmm(slope, key[0]).mul_(ctx.scale)
        of_key = torch.bmm(slope.transpose(1, 2), query).mul_(ctx.scale)
        return of_query.view(gradient.shape), of_key[None], of_value[None], None, None


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float | None, dropout: float) -> Tensor:
    """Causal where there is no mask."""
    grouped = q.shape[1] != k.shape[1]
    return functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=grouped
    )


def _within_window(tree: Tree, prefix: int, window: int, device: torch.device) -> Tensor:
    """The mask of a tree under a sliding window: by position in the text, not by place in the row."""
    prompt = prefix + tree.prompt
    seen = torch.cat([torch.arange(prompt), *(torch.arange(n) + prompt for n in tree.branches)])
    mask = _mask(tree, prefix) & (seen[prefix:, None] - seen[None] < window)
    return _additive(mask) if _is_dense(tree, prefix, device) else mask.to(device)


def _no_mask(*_: Any, **__: Any) -> None:
    """The trees say it all."""


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _no_mask)
