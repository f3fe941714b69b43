"""What a vLLM engine is started with: environment, engine arguments, tool parser. Imports no vLLM.

Three layers, the later wins: what suits the device, the typed fields of `VllmConfig`, its `args` by vLLM's own names.
"""

import json
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

from trimtab.server.engines import vllm_waiting
from trimtab.server.settings import VllmConfig
from trimtab.strategies.core.errors import ConfigError

GIB = 2**30

OWNED: Mapping[str, str] = {
    "model": "it is the model's `source`",
    "served_model_name": "it is the model's name in `models`",
    "max_model_len": "set `max_model_len` beside `args`",
    "dtype": "set `dtype` beside `args`",
    "enforce_eager": "set `enforce_eager` beside `args`",
    "lora_modules": "set `lora` beside `args`",
    "chat_template": "set the model's `chat_template`",
    "trust_remote_code": "code from model repositories is never run",
    "trust_request_chat_template": "chat templates from clients are never run",
    "trust_request_mm_kwargs": "clients cannot change how media are processed",
    "enable_prompt_embeds": "clients cannot send pickled tensors",
    "enable_log_requests": "prompts are not logged",
    "enable_log_outputs": "completions are not logged",
}
"""Arguments that `args` may not hold, and where the matter is decided."""

SERVING = frozenset(
    {
        "chat_template_content_format",
        "default_chat_template_kwargs",
        "enable_auto_tool_choice",
        "enable_per_request_metrics",
        "enable_prompt_tokens_details",
        "exclude_tools_when_tool_choice_none",
        "fingerprint_mode",
        "fingerprint_value",
        "response_role",
        "return_tokens_as_token_ids",
        "tool_call_parser",
        "tool_parser_plugin",
        "tool_strict_level",
    }
)
"""Arguments of vLLM's OpenAI layer (beside its engine arguments) that `args` may hold."""

SCORING_ARCHITECTURES = ("ForSequenceClassification", "ForRewardModel", "RewardModel")

LABELS = 128
"""Chosen ids whose log-probabilities can be asked for at one position: vLLM's own limit for them."""

COPYING: Mapping[str, Any] = {
    "method": "ngram",
    "num_speculative_tokens": 6,
    "prompt_lookup_max": 4,
    "prompt_lookup_min": 2,
}
"""Speculation for a model that mostly copies its prompt: guesses are looked up there."""

BUSY_WAIT_S = 0.001
"""On CPU: how long vLLM's processes look for a message before they sleep. Steps take longer, on cores that looking takes."""

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)

_TOOL_MARKS = (
    ("<tool_call>\n<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_tag|>", "llama3_json"),
    ("<|tool_call|>", "granite"),
    ("<|tool_list_start|>", "lfm2"),
)
"""What a chat template writes around tool calls, and vLLM's parser for it; the first that occurs decides."""


def environment(config: VllmConfig, *, cpu: bool) -> dict[str, str]:
    """Variables to set, where the operator has not, before vLLM is imported; its processes inherit them."""
    wanted = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(int(config.start_timeout_s)),
    }
    if cpu:
        ranks = int(config.args.get("tensor_parallel_size", 1)) * int(config.args.get("pipeline_parallel_size", 1))
        wanted["VLLM_CPU_OMP_THREADS_BIND"] = thread_binding(available_cores(), ranks)
        wanted[vllm_waiting.VARIABLE] = str(BUSY_WAIT_S)
    return wanted


def available_cores() -> list[int]:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def thread_binding(cores: Iterable[int], ranks: int = 1) -> str:
    """Every core to a worker: `0,1` for one, `0,1|2,3` for two. vLLM's own `auto` leaves one out.

    With fewer cores than ranks: `auto`.
    """
    listed = list(cores)
    share = len(listed) // ranks
    if share == 0:
        return "auto"
    rest = len(listed) - share * ranks
    starts = [rank * share + min(rank, rest) for rank in range(ranks + 1)]
    return "|".join(",".join(map(str, listed[a:b])) for a, b in pairwise(starts))


def arguments(config: VllmConfig, *, cpu: bool, max_model_len: int, scoring: bool) -> dict[str, Any]:
    """Engine and serving arguments by vLLM's names. Raises ConfigError for names that are decided elsewhere.

    max_model_len: the resolved context window in tokens. On CPU a prompt is prefilled in one step: a seeded request whose
    prompt is cut into chunks kills vLLM's CPU worker.
    """
    for name in config.args:
        if name in OWNED:
            raise ConfigError(f"`args.{name}` cannot be set here: {OWNED[name]}", param=f"engine.args.{name}")
    chosen: dict[str, Any] = {
        "max_model_len": max_model_len,
        "max_logprobs": LABELS,
        "dtype": config.dtype,
        "scheduling_policy": "priority",
        "enable_prompt_tokens_details": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if scoring:
        chosen["runner"] = "pooling"
    if config.enforce_eager is not None or cpu:
        chosen["enforce_eager"] = True if config.enforce_eager is None else config.enforce_eager
    if cpu:
        chosen |= {"block_size": 32, "kv_cache_memory_bytes": GIB, "enable_chunked_prefill": False}
        chosen["max_num_batched_tokens"] = max(max_model_len, 2048)
    if config.kv_cache_gib is not None:
        chosen["kv_cache_memory_bytes"] = int(config.kv_cache_gib * GIB)
    if config.lora:
        chosen |= {"enable_lora": True, "max_loras": len(config.lora)}
    return chosen | config.args


def for_copying(config: VllmConfig) -> VllmConfig:
    """The same engine, guessing that answers are copied from the prompt, unless its `args` say how it speculates."""
    return config.model_copy(update={"args": {"speculative_config": dict(COPYING), **config.args}})


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises ConfigError for an argument that vLLM does not have, with the nearest one."""
    allowed = sorted(set(known) - OWNED.keys())
    for name in names:
        if name not in allowed and name not in OWNED:
            near = get_close_matches(name, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; see vLLM's engine arguments"
            raise ConfigError(f"vLLM has no engine argument {name!r}{hint}", param=f"engine.args.{name}")


def command_line(chosen: Mapping[str, Any]) -> list[str]:
    """The arguments as vLLM's own parser reads them; it checks their values."""
    words: list[str] = []
    for name, value in chosen.items():
        flag = name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, Mapping):
            words += [f"--{flag}", json.dumps(value)]
        elif isinstance(value, list | tuple):
            words += [f"--{flag}", *map(str, value)]
        else:
            words.append(f"--{flag}={value}")
    return words


def seeds_are_safe(chosen: Mapping[str, Any], *, cpu: bool) -> bool:
    """Whether a seeded request cannot kill the worker; see `arguments`."""
    whole = not chosen.get("enable_chunked_prefill", False)
    return not cpu or (whole and chosen.get("max_num_batched_tokens", 0) >= chosen["max_model_len"])


def prompts_are_scored(chosen: Mapping[str, Any], *, cpu: bool) -> bool:
    """Whether log-probabilities of a prompt can be asked for: on CPU they kill a worker that has adapters enabled.

    Its layer for adapters then takes the places of sampled tokens for those of all the prompt's tokens (vLLM 0.32).
    """
    return not (cpu and chosen.get("enable_lora"))


def tool_parser(template: str | None) -> str | None:
    """vLLM's parser for the tool calls of a chat template; None where the model has no template.

    A template that knows no tools gets the most common form: a call can still be forced by `tool_choice`.
    """
    if not template:
        return None
    return next((parser for mark, parser in _TOOL_MARKS if mark in template), "hermes")


def renders_tools(template: str | None) -> bool:
    """Whether the template shows tools to the model."""
    return bool(template) and "tools" in str(template)


def is_scoring(path: Path) -> bool:
    """Whether a checkpoint scores texts (a reward model or classifier) and generates none."""
    try:
        architectures = json.loads((path / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} is not a model directory: {error}", param="source") from error
    return any(str(name).endswith(SCORING_ARCHITECTURES) for name in architectures)


def lora_rank(adapters: Mapping[str, str]) -> int:
    """The smallest rank vLLM can be told that fits every adapter. Raises ConfigError for what is no adapter directory."""
    ranks = []
    for name, directory in adapters.items():
        try:
            ranks.append(int(json.loads((Path(directory) / "adapter_config.json").read_text(encoding="utf-8"))["r"]))
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"lora {name!r}: {directory!r} is not an adapter directory: {error}", param="engine.lora"
            ) from error
    fitting = [rank for rank in LORA_RANKS if rank >= max(ranks, default=0)]
    if not fitting:
        raise ConfigError(f"an adapter has rank {max(ranks)}; vLLM takes up to {LORA_RANKS[-1]}", param="engine.lora")
    return fitting[0]
