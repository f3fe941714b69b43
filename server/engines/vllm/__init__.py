"""The vLLM engine: AsyncLLM in this process, behind vLLM's own OpenAI layer.

`engine` is the entry; nothing here imports vllm until an engine starts, because its environment has to be set first.
"""

from trimtab.server.engines.vllm.engine import VllmEngine

__all__ = ["VllmEngine"]
