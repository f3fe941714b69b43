"""A loaded scoring model: weights, tokenizer, window, and one forward call over a batch. It knows no requests."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as progress

from trimtab.server.engines.labels import Label, pick_label
from trimtab.server.engines.transformers.model import pick_device, pick_dtype, pick_window
from trimtab.server.engines.transformers.reward_prompts import ScoredPrompt
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A sequence classification model ready to compute."""

    network: Any
    tokenizer: Any
    label: Label
    window: int
    """Longest conversation in tokens."""
    pad: int | None
    """The padding id of the model's configuration; None where it has none and reads its score at the last token."""
    takes_types: bool
    """Whether its forward takes `token_type_ids`."""

    @property
    def dtype(self) -> str:
        """Of the weights, e.g. bfloat16."""
        return str(self.network.dtype).removeprefix("torch.")

    def scores(self, prompts: Sequence[ScoredPrompt]) -> list[float]:
        """One number a prompt, the same whatever else is in the batch (up to rounding). Padding stands on the right."""
        size = (len(prompts), max(len(prompt.ids) for prompt in prompts))
        ids = torch.full(size, self._padding(prompts), dtype=torch.long)
        mask, types = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            length = len(prompt.ids)
            ids[row, :length] = torch.tensor(prompt.ids)
            types[row, :length] = torch.tensor(prompt.types)
            mask[row, :length] = 1
        given = {"input_ids": ids, "attention_mask": mask, **({"token_type_ids": types} if self.takes_types else {})}
        with torch.inference_mode():
            logits = self.network(**{name: tensor.to(self.network.device) for name, tensor in given.items()}).logits
        return [self.label.score(outputs) for outputs in logits.float().tolist()]

    def _padding(self, prompts: Sequence[ScoredPrompt]) -> int:
        """The padding id. Where the model has none, the network is told of an id that no prompt holds: it then reads its score
        at the last token of each row, as it does for a single one.
        """
        if self.pad is not None:
            return self.pad
        used = {token for prompt in prompts for token in prompt.ids}
        free = next(token for token in range(len(used) + 1) if token not in used)
        self.network.config.get_text_config().pad_token_id = free
        return free


def load_reward_model(path: Path, config: TransformersConfig, label: str | None) -> RewardModel:
    """The scoring model of a checkpoint directory; blocks for seconds.

    Raises ConfigError where settings do not fit it or its head lacks, OSError where files lack.
    """
    from transformers import AutoTokenizer

    device = pick_device(config.device)
    network = _weights(path, pick_dtype(config.dtype, device)).to(device).eval()
    text_config = network.config.get_text_config()
    return RewardModel(
        network=network,
        tokenizer=AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False),
        label=pick_label(network.config, label),
        window=pick_window(text_config, config.max_model_len),
        pad=text_config.pad_token_id,
        takes_types="token_type_ids" in inspect.signature(network.forward).parameters,
    )


def _weights(path: Path, dtype: torch.dtype | str) -> Any:
    """The network on the CPU. Raises ConfigError where the checkpoint holds less than the model: its scores would be noise."""
    from transformers import AutoModelForSequenceClassification

    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        network, found = AutoModelForSequenceClassification.from_pretrained(
            path,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    finally:
        if shown:
            progress.enable_progress_bar()
    if found["missing_keys"]:
        lacking = ", ".join(sorted(found["missing_keys"])[:4])
        raise ConfigError(f"{str(path)!r} is no trained scoring model: its weights lack {lacking}", param="source")
    return network
