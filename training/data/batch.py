"""Examples laid end to end as one row of tokens: each prompt once, its branches behind it, no padding.

What all prompts of a batch begin with, such as a system prompt, stands once at the start of the row. A model reads the row
with the attention of `trimtab.training.attention`, which keeps trees apart and branches blind to each other. It knows no text
and no loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, repeat
from typing import Any

import torch
from torch import Tensor

from trimtab.training.data.examples import Branch, Example

LEAST_PREFIX = 8
"""Tokens that all prompts of a batch must begin with for them to be read once: fewer save less than their parting costs."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Where one prompt and its branches lie in the row, behind the batch's prefix."""

    prompt: int
    """Tokens of the prompt that the prefix does not hold, at least 1."""
    branches: tuple[int, ...]
    """Tokens of each branch."""

    @property
    def tokens(self) -> int:
        """Tokens of the tree, the prefix left out."""
        return self.prompt + sum(self.branches)


@dataclass(frozen=True, slots=True)
class OnlineTargets:
    """What a rollout found of each counted token of a batch, constants of its update, (N,) float32 each."""

    old: Tensor
    """Log-probability under the policy that is about to be updated, at the sampling temperature."""
    reference: Tensor
    """The same under the frozen reference."""
    advantages: Tensor
    values: Tensor | None = None
    """What the value model said before the update; None where there is none."""
    returns: Tensor | None = None
    """What it should have said."""
    beta: float = 0.0
    """Weight of the KL term where the loss has one."""

    def to(self, device: torch.device | str) -> "OnlineTargets":
        """The same on another device."""
        return replace(self, **_moved(self, device))


@dataclass(frozen=True, slots=True)
class Batch:
    """G examples with R responses and N counted tokens in a row of T tokens."""

    ids: Tensor
    """(T,) int64."""
    positions: Tensor
    """(T,) int64: each branch goes on where its prompt ended."""
    prefix: int
    """Tokens at the start of the row that every prompt begins with."""
    trees: tuple[Tree, ...]
    sources: Tensor
    """(N,) int64: place in the row whose hidden state predicts the counted token."""
    targets: Tensor
    """(N,) int64: the counted token."""
    weights: Tensor
    """(N,) float32, > 0."""
    response: Tensor
    """(N,) int64: the response that the counted token belongs to, ascending."""
    lengths: Tensor
    """(R,) float32: sum of the weights of each response."""
    ends: Tensor
    """(R,) int64: place in the row of each response's last token."""
    group: Tensor
    """(R,) int64: the example of each response, ascending."""
    scores: Tensor
    """(R,) float32; NaN = none."""
    labels: Tensor
    """(R,) bool; False where the data say nothing."""
    preference: Tensor
    """(G,) float32."""
    margin: Tensor
    """(G,) float32."""
    example_weights: Tensor
    """(G,) float32."""
    examples: tuple[Example, ...]
    reference: Tensor | None = None
    """(R,) float32: the frozen reference's summed log-probabilities."""
    online: OnlineTargets | None = None
    """Of a batch that the policy sampled itself."""

    @property
    def groups(self) -> int:
        """Number of examples."""
        return len(self.examples)

    @property
    def responses(self) -> int:
        """Number of responses."""
        return len(self.lengths)

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        online = None if self.online is None else self.online.to(device)
        return replace(self, **_moved(self, device), online=online)


def _moved(holder: Batch | OnlineTargets, device: torch.device | str) -> dict[str, Any]:
    """The tensors of a holder on another device, by name."""
    return {
        name: value.to(device, non_blocking=True)
        for name in holder.__slots__
        if isinstance(value := getattr(holder, name), Tensor)
    }


def collate(examples: Sequence[Example], *, share_prompts: bool = True) -> Batch:
    """The batch of some examples, in their order.

    share_prompts: each prompt once for all its branches, and the start that all prompts have in common once for all of them;
    else each prompt once a branch (same numbers, more tokens).
    """
    prefix = _prefix([example.prompt for example in examples]) if share_prompts else 0
    trees = tuple(chain.from_iterable(_trees(example, prefix, share_prompts) for example in examples))
    starts = list(accumulate((tree.tokens for tree in trees), initial=prefix))
    rows = _Rows(examples[0].prompt[:prefix] if examples else ())
    tree = 0
    for number, example in enumerate(examples):
        if share_prompts:
            rows.add(number, starts[tree], example.prompt, example.branches)
            tree += 1
            continue
        for branch in example.branches:
            rows.add(number, starts[tree], example.prompt, (branch,))
            tree += 1
    return rows.batch(trees, tuple(examples))


def _prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with, the last token of none of them among them; 0 where sharing them saves little."""
    if len(prompts) < 2:
        return 0
    first, last = min(prompts), max(prompts)  # in this order no other prompt has less in common with the first
    most = min(map(len, prompts)) - 1
    common = next((place for place in range(most) if first[place] != last[place]), most)
    return common if common >= LEAST_PREFIX else 0


def _trees(example: Example, prefix: int, share_prompts: bool) -> tuple[Tree, ...]:
    lengths = tuple(len(branch.ids) for branch in example.branches)
    if share_prompts:
        return (Tree(len(example.prompt) - prefix, lengths),)
    return tuple(Tree(len(example.prompt), (length,)) for length in lengths)


class _Rows:
    """Lists that grow tree by tree and become tensors at once."""

    def __init__(self, prefix: tuple[int, ...]) -> None:
        self.prefix = len(prefix)
        self.ids: list[int] = list(prefix)
        self.positions: list[int] = list(range(len(prefix)))
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.weights: list[float] = []
        self.response: list[int] = []
        self.branches: list[Branch] = []
        self.ends: list[int] = []
        self.group: list[int] = []

    def add(self, number: int, start: int, prompt: tuple[int, ...], branches: Sequence[Branch]) -> None:
        self.ids.extend(prompt[self.prefix :])
        self.positions.extend(range(self.prefix, len(prompt)))
        last = start + len(prompt) - self.prefix - 1
        for branch in branches:
            self._add_branch(number, last, len(prompt), branch)

    def _add_branch(self, number: int, last: int, offset: int, branch: Branch) -> None:
        begin, size = len(self.ids), len(branch.ids)
        sources = (last, *range(begin, begin + size - 1))
        weights = branch.weights or (1.0,) * size
        counted = [place for place, weight in enumerate(weights) if weight]
        self.ids.extend(branch.ids)
        self.positions.extend(range(offset, offset + size))
        self.sources.extend(sources[place] for place in counted)
        self.targets.extend(branch.ids[place] for place in counted)
        self.weights.extend(weights[place] for place in counted)
        self.response.extend(repeat(len(self.branches), len(counted)))
        self.ends.append(begin + size - 1)
        self.group.append(number)
        self.branches.append(branch)

    def batch(self, trees: tuple[Tree, ...], examples: tuple[Example, ...]) -> Batch:
        return Batch(
            ids=torch.tensor(self.ids),
            positions=torch.tensor(self.positions),
            prefix=self.prefix,
            trees=trees,
            sources=torch.tensor(self.sources, dtype=torch.int64),
            targets=torch.tensor(self.targets, dtype=torch.int64),
            weights=torch.tensor(self.weights),
            response=torch.tensor(self.response, dtype=torch.int64),
            lengths=torch.tensor([branch.counted for branch in self.branches]),
            ends=torch.tensor(self.ends, dtype=torch.int64),
            group=torch.tensor(self.group, dtype=torch.int64),
            scores=torch.tensor([float("nan") if b.score is None else b.score for b in self.branches]),
            labels=torch.tensor([bool(branch.label) for branch in self.branches]),
            preference=torch.tensor([example.preference for example in examples]),
            margin=torch.tensor([example.margin for example in examples]),
            example_weights=torch.tensor([example.weight for example in examples]),
            examples=examples,
        )
