"""A loaded model: weights, tokenizer, limits, and one forward call. It knows no requests."""

import inspect
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.utils import logging as progress

from trimtab.server.engines.transformers.attention import use_grouped_attention
from trimtab.server.engines.transformers.cache import RowCache
from trimtab.server.engines.transformers.lean import without_scikit_learn
from trimtab.server.engines.transformers.sampling import ModelLimits, SamplingDefaults
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.errors import ConfigError

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WINDOW_FIELDS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
WINDOW_UNKNOWN = 2048
"""Context window in tokens of a model whose config names none."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model ready to compute."""

    network: Any
    tokenizer: Any
    limits: ModelLimits
    windows: tuple[int | None, ...]
    """Attention window of each layer; None = everything."""
    optional: frozenset[str]
    """Which of `position_ids` and `logits_to_keep` the network's forward takes."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device(self.network.device)

    def forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        cache: RowCache,
        *,
        keep: int = 1,
    ) -> torch.Tensor:
        """Logits (rows, keep, vocabulary) of the last `keep` columns.

        ids, positions: (rows, columns). mask: (rows, columns in the cache and new), True counts; None = nothing is padding.
        The cache holds the new columns afterwards, and its frame's end moves over them.
        """
        optional: dict[str, Any] = {"position_ids": positions, "logits_to_keep": keep}
        logits = self.network(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: value for name, value in optional.items() if name in self.optional},
        ).logits
        cache.frame.end += ids.shape[-1]
        return logits[:, -keep:]

    def probe(self) -> None:
        """Raises where the device no longer computes (a CUDA context does not survive some errors)."""
        torch.zeros(1, device=self.device).add_(1).item()


def load(path: Path, config: TransformersConfig) -> LoadedModel:
    """The model of a checkpoint directory. Raises ConfigError for settings that do not fit it; OSError where files lack."""
    device = pick_device(config.device)
    network = _weights(path, pick_dtype(config.dtype, device)).to(device).eval()
    use_grouped_attention(network)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    written = _written_generation_config(path)
    text_config = network.config.get_text_config(decoder=True)
    return LoadedModel(
        network=network,
        tokenizer=tokenizer,
        limits=ModelLimits(
            window=pick_window(text_config, config.max_model_len),
            vocabulary=network.get_input_embeddings().weight.shape[0],
            eos_ids=_eos_ids(written, text_config, tokenizer),
            defaults=SamplingDefaults.from_generation_config(written),
        ),
        windows=attention_windows(network.config),
        optional=frozenset(inspect.signature(network.forward).parameters) & {"position_ids", "logits_to_keep"},
    )


def read_network(path: Path) -> tuple[Any, list[str]]:
    """A network in float32 on the CPU, and the names of weights that its files lack.

    Float32 is what torch makes by default: another dtype would be the default of every thread while it is read.
    """
    network, told = _from_files(path, torch.float32)
    return network, sorted(told["missing_keys"])


def _weights(path: Path, dtype: torch.dtype | str) -> Any:
    """The network on the CPU."""
    return _from_files(path, dtype)[0]


def _from_files(path: Path, dtype: torch.dtype | str) -> tuple[Any, dict[str, Any]]:
    """The network and what the library tells of its files, without its progress bar."""
    with without_scikit_learn():
        from transformers import AutoModelForCausalLM

    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        network, told = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
        return network, told
    finally:
        if shown:
            progress.enable_progress_bar()


def pick_device(asked: str) -> torch.device:
    """The device of a setting; auto = the first of cuda, mps and cpu that is there. Raises ConfigError."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return torch.device(next(name for name, usable in there.items() if usable))
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = None
    if device is None or not there.get(device.type, False):
        usable = ", ".join(name for name, is_there in there.items() if is_there)
        raise ConfigError(f"engine.device is {asked!r}; on this machine it may be auto, {usable}.", param="engine.device")
    return device


def pick_dtype(asked: str, device: torch.device) -> torch.dtype | str:
    """The dtype of a setting. auto = the checkpoint's own, but float32 on CPUs that compute bfloat16 by emulation.

    Raises ConfigError.
    """
    if asked != "auto":
        if asked not in DTYPES:
            raise ConfigError(f"engine.dtype is {asked!r}; it may be auto, {', '.join(DTYPES)}.", param="engine.dtype")
        return DTYPES[asked]
    if device.type != "cpu" or _cpu_has_bfloat16():
        return "auto"
    return torch.float32


def _cpu_has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def pick_window(text_config: Any, asked: int | None) -> int:
    """The context window in tokens. Raises ConfigError where more is asked than the model has."""
    own = next((int(size) for field in WINDOW_FIELDS if (size := getattr(text_config, field, None))), WINDOW_UNKNOWN)
    if asked is not None and asked > own:
        raise ConfigError(
            f"engine.max_model_len is {asked}; the model's own context window is {own} tokens.", param="engine.max_model_len"
        )
    return asked or own


def attention_windows(config: Any) -> tuple[int | None, ...]:
    """The attention window of each layer. Raises ConfigError for layers that keep other state than keys and values."""
    windows: list[int | None] = []
    for number, layer in enumerate(DynamicCache(config=config).layers):
        if type(layer) is DynamicLayer:
            windows.append(None)
        elif type(layer) is DynamicSlidingWindowLayer:
            windows.append(int(layer.sliding_window))
        else:
            raise ConfigError(
                f"The transformers engine serves models whose layers keep keys and values; layer {number} of this "
                f"{config.model_type} model keeps a {type(layer).__name__}. Serve it with the vllm engine.",
                param="engine",
            )
    return tuple(windows)


def _written_generation_config(path: Path) -> dict[str, Any]:
    file = path / "generation_config.json"
    written = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return written if isinstance(written, dict) else {}


def _eos_ids(written: dict[str, Any], text_config: Any, tokenizer: Any) -> frozenset[int]:
    """All ids that end an answer: the generation config's (else the config's) and the tokenizer's."""
    named = written.get("eos_token_id", getattr(text_config, "eos_token_id", None))
    ids = named if isinstance(named, list) else [named]
    return frozenset(int(i) for i in (*ids, tokenizer.eos_token_id) if i is not None)
