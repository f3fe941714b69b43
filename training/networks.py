"""What is trained: a Hugging Face network that reads batches of trees, with a language head or a scalar one.

Both heads are small modules around the network, so that data-parallel wrappers see one forward call. They know no losses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.training.attention import NAME, TreeMasks
from trimtab.training.data.batch import Batch
from trimtab.training.logprobs import LogitForm, sums, token_logprobs
from trimtab.training.tied import TiedGradient, looked_up


@dataclass(frozen=True, slots=True)
class Readout:
    """What one pass over a batch gives; a head leaves out what it has not."""

    logprobs: Tensor | None = None
    """(N,) log-probability of each counted token, in nats, float32."""
    logps: Tensor | None = None
    """(R,) weighted sums of a response's log-probabilities."""
    rewards: Tensor | None = None
    """(R,) scalar of each response, read at its last token, float32."""
    values: Tensor | None = None
    """(N,) scalar where each counted token is about to be written, float32."""
    entropy: Tensor | None = None
    """(N,) entropy of the distribution that each counted token was drawn from, in nats, float32."""


class _Around(nn.Module):
    """A module around a network, sharded as the network would be."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @property
    def _no_split_modules(self) -> Any:
        """What FSDP takes for one unit."""
        return bare(self.network)._no_split_modules


class Policy(_Around):
    """A causal language model over batches."""

    def forward(self, batch: Batch, temperature: float = 1.0) -> Readout:
        """Log-probabilities of the counted tokens, at a sampling temperature."""
        logprobs, _ = read_language(bare(self.network), batch, temperature)
        return Readout(logprobs=logprobs, logps=sums(logprobs * batch.weights, batch.response, batch.responses))


class Scorer(_Around):
    """A network with one output: a reward model, or a value model."""

    def forward(self, batch: Batch) -> Readout:
        """The scalar of each response, at its last token."""
        return Readout(rewards=self._scalars(batch, batch.ends))

    def values(self, batch: Batch) -> Tensor:
        """(N,) scalars where each counted token is about to be written."""
        return self._scalars(batch, batch.sources)

    def _scalars(self, batch: Batch, places: Tensor) -> Tensor:
        base = bare(self.network)
        picked = hidden_states(base, batch).index_select(0, places)
        with torch.autocast(picked.device.type, enabled=False):
            scores: Tensor = base.score(picked.to(base.score.weight.dtype))
        return scores[:, 0].float()


def bare(network: Any) -> Any:
    """The Hugging Face model itself, adapters left in place."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


@contextmanager
def without_adapter(network: Any) -> Iterator[None]:
    """The network as it was before its adapter, for a reference."""
    with network.disable_adapter():
        yield


def read_language(base: Any, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N,) of the counted tokens, and the hidden states (N, H) that they are read from."""
    found = looked_up(base, batch.ids) if base.config._attn_implementation == NAME else None
    embedded, tied = found or (None, None)
    hidden = hidden_states(base, batch, embedded).index_select(0, batch.sources)
    return _head_logprobs(base, hidden, batch.targets, temperature, tied), hidden


def hidden_states(base: Any, batch: Batch, embedded: Tensor | None = None) -> Tensor:
    """The last hidden states (T, H) of a batch's row.

    embedded: the embeddings (T, H) of its ids, where they are known; only for the attention of trees.
    """
    body = base.base_model
    if base.config._attn_implementation == NAME:
        masks = TreeMasks.of(batch.prefix, batch.trees, batch.ids.device)
        told = {"input_ids": batch.ids[None]} if embedded is None else {"inputs_embeds": embedded[None]}
        output = body(**told, position_ids=batch.positions[None], trees=masks, use_cache=False)
        row: Tensor = output.last_hidden_state[0]
        return row
    if embedded is not None:
        raise TypeError("a network whose attention is its own is given ids")
    return _padded(body, batch)


def _padded(body: Any, batch: Batch) -> Tensor:
    """The same from rows padded on the right, for networks whose attention is their own; prompts may not be shared.

    A causal row never sees what is right of it, so no mask is needed.
    """
    if batch.prefix or any(len(tree.branches) > 1 for tree in batch.trees):
        raise TypeError("a network whose attention is its own reads no shared prompts: collate with share_prompts=False")
    sizes = [tree.tokens for tree in batch.trees]
    ids = nn.utils.rnn.pad_sequence(list(batch.ids.split(sizes)), batch_first=True)
    hidden = body(input_ids=ids, attention_mask=None, use_cache=False).last_hidden_state
    return torch.cat([row[:size] for row, size in zip(hidden, sizes, strict=True)])


def _head_logprobs(base: Any, hidden: Tensor, targets: Tensor, temperature: float, tied: TiedGradient | None = None) -> Tensor:
    """Log-probabilities of targets from hidden states, through the model's own scaling and capping of logits."""
    head = base.get_output_embeddings()
    form = logit_form(base.config)._replace(temperature=temperature)
    return token_logprobs(hidden, head.weight, targets, bias=head.bias, form=form, tied=tied)


def logit_form(config: Any) -> LogitForm:
    """The factor and the cap that a model's own forward puts on its logits."""
    text = config.get_text_config()
    scale = float(getattr(text, "logit_scale", None) or 1.0) / float(getattr(text, "logits_scaling", None) or 1.0)
    return LogitForm(scale, getattr(text, "final_logit_softcapping", None))
