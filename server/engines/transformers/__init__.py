"""The transformers engines, on CPU and GPU: causal language models by continuous batching, scoring models by micro-batches."""

from trimtab.server.engines.transformers.engine import TransformersEngine
from trimtab.server.engines.transformers.rewards import TransformersRewards

__all__ = ["TransformersEngine", "TransformersRewards"]
