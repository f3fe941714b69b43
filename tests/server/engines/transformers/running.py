"""What the tests of this folder share: collected answers, and the same answers from `model.generate`."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.strategies.core.engine import Call, Params, TokenDelta

_numbers = itertools.count()


@dataclass
class Sample:
    """One collected sample."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    finish: str | None = None
    logprobs: list[float] = field(default_factory=list)
    top: list[dict[int, float]] = field(default_factory=list)
    cached: int = 0

    def add(self, delta: TokenDelta) -> None:
        assert self.finish is None, "a delta after the last one"
        self.ids += delta.token_ids
        self.text += delta.text
        self.finish = delta.finish_reason
        self.logprobs += delta.logprobs
        self.top += [dict(top) for top in delta.top_logprobs]
        self.cached += delta.cached_tokens


def call(priority: int = 0, salt: str | None = None) -> Call:
    """A call with a fresh request id."""
    return Call(f"r{next(_numbers)}", priority=priority, cache_salt=salt)


async def collect(engine: TransformersEngine, ids: Sequence[int], params: Params, at: Call | None = None) -> list[Sample]:
    """All n samples of a request."""
    samples = [Sample() for _ in range(params.n)]
    async for delta in engine.generate(ids, params, at or call()):
        samples[delta.index].add(delta)
    return samples


async def one(engine: TransformersEngine, ids: Sequence[int], params: Params, at: Call | None = None) -> Sample:
    """The only sample of a request."""
    return (await collect(engine, ids, params, at))[0]


def generated(model: LoadedModel, ids: Sequence[int], new_tokens: int, **how: Any) -> list[int]:
    """What `model.generate` answers, greedily; ends behind the first end token."""
    with torch.inference_mode():
        whole = model.network.generate(torch.tensor([list(ids)]), max_new_tokens=new_tokens, do_sample=False, **how)
    return [int(token) for token in whole[0, len(ids) :]]


def reference_logprobs(model: LoadedModel, ids: Sequence[int]) -> torch.Tensor:
    """(tokens, vocabulary): of the token after each position, from one plain forward."""
    with torch.inference_mode():
        logprobs: torch.Tensor = model.network(torch.tensor([list(ids)])).logits[0].float().log_softmax(-1)
    return logprobs
