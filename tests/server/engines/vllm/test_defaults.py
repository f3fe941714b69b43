"""Engine arguments and environment; no vLLM needed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.engines.vllm import defaults
from trimtab.server.settings import VllmConfig
from trimtab.strategies.core.errors import ConfigError


def arguments(*, cpu: bool = True, **fields: Any) -> dict[str, Any]:
    return defaults.arguments(VllmConfig(**fields), cpu=cpu, max_model_len=4096, scoring=False)


def test_cpu_defaults_keep_seeds_safe() -> None:
    chosen = arguments()
    assert chosen["block_size"] == 32
    assert chosen["kv_cache_memory_bytes"] == 2**30
    assert chosen["enforce_eager"] is True
    assert chosen["enable_chunked_prefill"] is False
    assert chosen["max_num_batched_tokens"] == 4096
    assert defaults.seeds_are_safe(chosen, cpu=True)


def test_gpu_keeps_vllms_own_rules() -> None:
    chosen = arguments(cpu=False)
    assert not chosen.keys() & {"block_size", "kv_cache_memory_bytes", "enforce_eager", "enable_chunked_prefill"}
    assert defaults.seeds_are_safe(chosen, cpu=False)


@pytest.mark.parametrize("args", [{"enable_chunked_prefill": True}, {"max_num_batched_tokens": 1024}])
def test_args_that_endanger_seeds_are_noticed(args: dict[str, Any]) -> None:
    assert not defaults.seeds_are_safe(arguments(args=args), cpu=True)


@pytest.mark.parametrize(("cpu", "adapters", "can"), [(True, False, True), (True, True, False), (False, True, True)])
def test_prompts_are_not_scored_beside_adapters_on_cpu(cpu: bool, adapters: bool, can: bool) -> None:
    """vLLM's worker dies of it there: `compute_logits` of the whole prompt meets the places of sampled tokens."""
    chosen = arguments(cpu=cpu, args={"enable_lora": True} if adapters else {})
    assert defaults.prompts_are_scored(chosen, cpu=cpu) is can


def test_typed_fields_and_args_win() -> None:
    chosen = arguments(kv_cache_gib=0.5, enforce_eager=False, args={"tensor_parallel_size": 2, "block_size": 64})
    assert chosen["kv_cache_memory_bytes"] == 2**29
    assert chosen["enforce_eager"] is False
    assert chosen["block_size"] == 64
    assert chosen["tensor_parallel_size"] == 2


@pytest.mark.parametrize("name", ["model", "trust_remote_code", "max_model_len", "enable_prompt_embeds"])
def test_what_is_decided_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"args.{name}"):
        arguments(args={name: True})


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'max_num_seqs'"):
        defaults.check_names(["max_num_seq"], ["max_num_seqs", "block_size"])


def test_the_command_line_holds_every_kind_of_value() -> None:
    words = defaults.command_line(
        {
            "enable_lora": True,
            "async_scheduling": False,
            "seed": None,
            "stop_ids": [1, 2],
            "speculative_config": {"n": 1},
            "dtype": "auto",
        }
    )
    assert words == [
        "--enable-lora",
        "--no-async-scheduling",
        "--stop-ids",
        "1",
        "2",
        "--speculative-config",
        '{"n": 1}',
        "--dtype=auto",
    ]


@given(st.lists(st.integers(0, 255), min_size=1, max_size=64, unique=True), st.integers(1, 8))
def test_every_core_is_bound_once(cores: list[int], ranks: int) -> None:
    bound = defaults.thread_binding(cores, ranks)
    if ranks > len(cores):
        assert bound == "auto"
        return
    shares = [[int(core) for core in share.split(",")] for share in bound.split("|")]
    assert len(shares) == ranks
    assert [core for share in shares for core in share] == cores
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_nothing_is_reported_to_anyone() -> None:
    variables = defaults.environment(VllmConfig(), cpu=True)
    assert variables["VLLM_NO_USAGE_STATS"] == variables["DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        (None, None),
        ("{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}", "hermes"),
        ("<tool_call>\n{{ call }}\n</tool_call>", "hermes"),
        ("<tool_call>\n<function={{ name }}>", "qwen3_coder"),
        ("[AVAILABLE_TOOLS] [TOOL_CALLS]", "mistral"),
        ("<|python_tag|>", "llama3_json"),
    ],
)
def test_the_template_decides_the_tool_parser(template: str | None, parser: str | None) -> None:
    assert defaults.tool_parser(template) == parser


def test_reward_models_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForSequenceClassification"]}))
    assert defaults.is_scoring(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    assert not defaults.is_scoring(tmp_path)
    with pytest.raises(ConfigError, match="not a model directory"):
        defaults.is_scoring(tmp_path / "nowhere")


def test_adapters_fit_the_rank(tmp_path: Path) -> None:
    for name, rank in (("a", 4), ("b", 24)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"r": rank}))
    assert defaults.lora_rank({"a": str(tmp_path / "a")}) == 8
    assert defaults.lora_rank({n: str(tmp_path / n) for n in "ab"}) == 32
    with pytest.raises(ConfigError, match="lora 'c'"):
        defaults.lora_rank({"c": str(tmp_path / "c")})


def test_a_model_that_copies_looks_its_guesses_up_unless_told_otherwise() -> None:
    def speculation(**fields: Any) -> Any:
        return defaults.arguments(defaults.for_copying(VllmConfig(**fields)), cpu=True, max_model_len=4096, scoring=False).get(
            "speculative_config"
        )

    assert speculation() == defaults.COPYING
    assert speculation(args={"speculative_config": {"method": "suffix"}}) == {"method": "suffix"}
    assert speculation(args={"speculative_config": None}) is None
    assert defaults.command_line({"speculative_config": None}) == []
    assert "speculative_config" not in arguments()
