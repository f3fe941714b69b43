"""The transformers engine: continuous batching over any Hugging Face causal language model, on CPU and GPU."""

from trimtab.server.engines.transformers.engine import TransformersEngine

__all__ = ["TransformersEngine"]
