"""Rollouts and pushed weights on vLLM, in process and over HTTP: the same samples' form, exact weights, and what goes wrong."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.asgi import SyncASGITransport
from tests.server.engines.transformers.checkpoints import write_llama
from trimtab.cli.remote_rollouts import RemotePolicy
from trimtab.cli.rollouts import LocalPolicy
from trimtab.server.app import create_app
from trimtab.server.settings import Settings, VllmConfig
from trimtab.training.errors import RolloutError
from trimtab.training.online.protocols import Sample

pytestmark = pytest.mark.vllm

EOS = 2
PROMPT = list(range(40, 100))
HOW: dict[str, Any] = {"n": 3, "max_tokens": 12, "temperature": 1.0, "top_p": 1.0, "seed": 5}
WIDE = {"hidden_size": 128, "head_dim": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
"""A head size that vLLM computes on CPU."""
CONFIG = VllmConfig(dtype="float32", kv_cache_gib=0.1, max_model_len=512, restart_backoff_s=0.1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("policies")
    return write_llama(folder / "old", 0, **WIDE), write_llama(folder / "new", 1, **WIDE)


@pytest.fixture(scope="module")
def local(needs_vllm: None, checkpoints: tuple[Path, Path]) -> Iterator[LocalPolicy]:
    with LocalPolicy(checkpoints[0], CONFIG) as policy:
        yield policy


@cache
def network(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def of_the(directory: Path, samples: list[Sample], prompt: list[int] = PROMPT) -> bool:
    """Whether the log-probabilities of the samples' tokens are those of a checkpoint, at temperature 1."""
    for sample in samples:
        with torch.inference_mode():
            whole = network(directory)(torch.tensor([[*prompt, *sample.token_ids]])).logits[0].log_softmax(-1)
        expected = [float(whole[len(prompt) - 1 + at, token]) for at, token in enumerate(sample.token_ids)]
        if list(sample.logprobs) != pytest.approx(expected, abs=1e-3):
            return False
    return True


def check_samples(policy: LocalPolicy | RemotePolicy, checkpoints: tuple[Path, Path]) -> None:
    """Seeds hold, samples differ, and an end token is part of the sample that it ends."""
    (first,), (again,), (other,) = (policy.sample([PROMPT], **{**HOW, "seed": seed}) for seed in (5, 5, 6))
    assert first == again
    assert len({sample.token_ids for sample in (*first, *other)}) == 6
    assert of_the(checkpoints[0], first)
    (many,) = policy.sample([PROMPT], **{**HOW, "n": 32, "max_tokens": 60, "temperature": 2.0})
    stopped = [sample for sample in many if sample.finish_reason == "stop"]
    assert 0 < len(stopped) < 32
    assert all(sample.token_ids[-1] == EOS and EOS not in sample.token_ids[:-1] for sample in stopped)
    assert all(len(sample.token_ids) == 60 for sample in many if sample.finish_reason == "length")
    assert of_the(checkpoints[0], stopped[:2])
    (greedy,) = policy.sample([PROMPT], **{**HOW, "temperature": 0.0})
    assert greedy == greedy[:1] * 3


def check_push(policy: LocalPolicy | RemotePolicy, checkpoints: tuple[Path, Path], folder: Path) -> None:
    """The prompt lies in the prefix cache before each push; a push that fails leaves the weights."""
    old, new = checkpoints
    version = policy.push(new)
    (after,) = policy.sample([PROMPT], **HOW)
    assert of_the(new, after)
    assert {sample.version for sample in after} == {version}
    with pytest.raises(RolloutError, match="not those of this model"):
        policy.push(write_llama(folder / "wider", 0, **{**WIDE, "intermediate_size": 64}))
    with pytest.raises(RolloutError, match="no directory"):
        policy.push(folder / "nowhere")
    assert of_the(new, policy.sample([PROMPT], **HOW)[0])
    assert policy.push(old) == version + 1
    assert of_the(old, policy.sample([PROMPT], **HOW)[0])


def test_in_process(local: LocalPolicy, checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    check_samples(local, checkpoints)
    check_push(local, checkpoints, tmp_path)
    with pytest.raises(RolloutError, match="context window"):
        local.sample([[40] * 500], **{**HOW, "max_tokens": 13})


def test_a_push_waits_for_what_is_under_way(local: LocalPolicy, checkpoints: tuple[Path, Path]) -> None:
    """Samples that began before the push end on the weights they began with; their stamp says so."""
    old, new = checkpoints
    with ThreadPoolExecutor(1) as other:
        begun = other.submit(local.sample, [PROMPT], **{**HOW, "n": 8, "max_tokens": 400})
        while not local.running and not begun.done():
            time.sleep(0.001)  # another thread starts: there is no event to wait for
        version = local.push(new)
        (samples,) = begun.result()
    assert {sample.version for sample in samples} == {version - 1}
    assert of_the(old, samples)
    assert of_the(new, local.sample([PROMPT], **HOW)[0])
    local.push(old)


@pytest.mark.slow
def test_an_engine_that_died_comes_back_with_the_pushed_weights(local: LocalPolicy, checkpoints: tuple[Path, Path]) -> None:
    version = local.push(checkpoints[1])
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith("VLLM"):
            process.kill()
    for _ in range(600):
        try:
            (samples,) = local.sample([PROMPT], **HOW)
            break
        except RolloutError:
            time.sleep(0.1)  # another process starts: there is no event to wait for
    assert of_the(checkpoints[1], samples)
    assert {sample.version for sample in samples} == {version}


@pytest.mark.slow
def test_over_http(needs_vllm: None, checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    models = {"tiny": {"source": str(checkpoints[0]), "engine": CONFIG.model_dump()}}
    transport = SyncASGITransport(create_app(Settings.model_validate({"models": models})))
    with RemotePolicy("http://test", "tiny", transport=transport) as policy:
        check_samples(policy, checkpoints)
        check_push(policy, checkpoints, tmp_path)
