"""Rollouts, scores and weight pushes as online training gets them: in process and over HTTP, one suite for both."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.asgi import SyncASGITransport
from tests.server.engines.transformers.checkpoints import write_adapter, write_llama, write_reward
from trimtab.cli.remote_rollouts import RemotePolicy
from trimtab.cli.rollouts import LocalPolicy, LocalRewards
from trimtab.server.app import create_app
from trimtab.server.settings import Settings, TransformersConfig
from trimtab.training.errors import RolloutError
from trimtab.training.online.protocols import Rollouts, Sample, Scores, Weights

EOS = 2
PROMPTS = [list(range(40, 60)), list(range(90, 100)), [77]]
CONFIG = TransformersConfig(dtype="float32", device="cpu", threads=1)
HOW: dict[str, Any] = {"n": 3, "max_tokens": 12, "temperature": 1.0, "top_p": 1.0, "seed": 5}


class Policy(Rollouts, Weights, Protocol):
    """What both give."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two sets of weights; of the first, the generation config would change what is sampled, were it applied."""
    folder = tmp_path_factory.mktemp("policies")
    old, new = write_llama(folder / "old", 0), write_llama(folder / "new", 1)
    own = '{"eos_token_id": 2, "temperature": 0.1, "top_k": 2, "repetition_penalty": 3.0, "max_new_tokens": 4}'
    (old / "generation_config.json").write_text(own)
    return old, new


@pytest.fixture(scope="module")
def local(checkpoints: tuple[Path, Path]) -> Iterator[LocalPolicy]:
    with LocalPolicy(checkpoints[0], CONFIG) as policy:
        yield policy


@pytest.fixture(scope="module")
def remote(checkpoints: tuple[Path, Path]) -> Iterator[RemotePolicy]:
    """A server whose default strategy would change every prompt, and that gives two choices a request."""
    settings = Settings.model_validate(
        {
            "models": {"org/tiny": {"source": str(checkpoints[0]), "engine": CONFIG.model_dump()}},
            "defaults": {"strategy": "value_prompt"},
            "limits": {"n": 2},
            "keys": [{"name": "trainer", "key": "secret", "scopes": ["infer", "admin"]}],
        }
    )
    transport = SyncASGITransport(create_app(settings))
    os.environ["TRIMTAB_API_KEY"] = "secret"
    with RemotePolicy("http://test/v1", "org/tiny", samples_a_request=2, transport=transport) as policy:
        os.environ.pop("TRIMTAB_API_KEY")
        yield policy


@pytest.fixture(params=["local", "remote"])
def policy(request: pytest.FixtureRequest) -> Policy:
    made: Policy = request.getfixturevalue(request.param)
    return made


@cache
def network(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def logprobs(directory: Path, prompt: list[int], sample: Sample) -> list[float]:
    """Of the sample's tokens at temperature 1, by one plain forward."""
    with torch.inference_mode():
        whole = network(directory)(torch.tensor([[*prompt, *sample.token_ids]])).logits[0].log_softmax(-1)
    return [float(whole[len(prompt) - 1 + at, token]) for at, token in enumerate(sample.token_ids)]


def test_samples_are_whole_and_scored_at_temperature_one(policy: Policy, checkpoints: tuple[Path, Path]) -> None:
    """Also at another temperature and top_p: the log-probabilities stay those of the policy as it is."""
    for how in (HOW, {**HOW, "temperature": 0.7, "top_p": 0.9}):
        found = policy.sample(PROMPTS, **how)
        assert [len(samples) for samples in found] == [3, 3, 3]
        for prompt, samples in zip(PROMPTS, found, strict=True):
            for sample in samples:
                assert list(sample.logprobs) == pytest.approx(logprobs(checkpoints[0], prompt, sample), abs=1e-3)


def test_an_end_token_ends_a_sample_and_is_part_of_it(policy: Policy) -> None:
    """At a high temperature one token in some 260 is the end token: of 64 samples of 60 tokens some end."""
    samples = [
        one for group in policy.sample(PROMPTS[:1], **{**HOW, "n": 64, "max_tokens": 60, "temperature": 2.0}) for one in group
    ]
    stopped = [one for one in samples if one.finish_reason == "stop"]
    assert 0 < len(stopped) < 64
    assert all(one.token_ids[-1] == EOS and EOS not in one.token_ids[:-1] for one in stopped)
    cut = [one for one in samples if one.finish_reason == "length"]
    assert all(len(one.token_ids) == 60 and EOS not in one.token_ids for one in cut)
    assert len(stopped) + len(cut) == 64


def ids(found: list[list[Sample]]) -> list[list[tuple[int, ...]]]:
    return [[sample.token_ids for sample in samples] for samples in found]


def test_a_seed_gives_the_same_samples_and_another_seed_others(policy: Policy) -> None:
    """Also the same prompt twice in one call: its samples are drawn anew."""
    prompts = [PROMPTS[0], PROMPTS[0]]
    first, again, other = (ids(policy.sample(prompts, **{**HOW, "seed": seed})) for seed in (5, 5, 6))
    assert first == again != other
    assert len({one for samples in first for one in samples}) == 6


def test_both_ways_give_the_same_samples(local: LocalPolicy, remote: RemotePolicy) -> None:
    assert ids(local.sample(PROMPTS, **HOW)) == ids(remote.sample(PROMPTS, **HOW))


def test_greedy_samples_are_all_the_most_likely_one(policy: Policy, checkpoints: tuple[Path, Path]) -> None:
    (samples,) = policy.sample(PROMPTS[:1], **{**HOW, "temperature": 0.0})
    assert samples == samples[:1] * 3
    with torch.inference_mode():
        whole = list(PROMPTS[0])
        for token in samples[0].token_ids:
            assert int(network(checkpoints[0])(torch.tensor([whole])).logits[0, -1].argmax()) == token
            whole.append(token)


def test_no_prompts_are_no_samples(policy: Policy) -> None:
    assert policy.sample([], **HOW) == []


def test_pushed_weights_sample_and_stamp_what_they_sample(policy: Policy, checkpoints: tuple[Path, Path]) -> None:
    """Pushed and pushed back, so that the next test finds the first weights again."""
    old, new = checkpoints
    (before,) = policy.sample(PROMPTS[:1], **HOW)
    version = policy.push(new)
    assert version == before[0].version + 1
    (after,) = policy.sample(PROMPTS[:1], **HOW)
    assert {sample.version for sample in after} == {version}
    assert list(after[0].logprobs) == pytest.approx(logprobs(new, PROMPTS[0], after[0]), abs=1e-3)
    assert policy.push(old) == version + 1
    (again,) = policy.sample(PROMPTS[:1], **HOW)
    assert [sample.token_ids for sample in again] == [sample.token_ids for sample in before]


def test_what_goes_wrong_is_told_and_nothing_is_changed(policy: Policy, tmp_path: Path) -> None:
    before = policy.sample(PROMPTS[:1], **HOW)
    with pytest.raises(RolloutError, match="no directory"):
        policy.push(tmp_path / "nowhere")
    with pytest.raises(RolloutError, match="not those of this model"):
        policy.push(write_llama(tmp_path / "larger", 0, layers=3))
    with pytest.raises(RolloutError, match="context window"):
        policy.sample([[40] * 500], **{**HOW, "max_tokens": 13})
    with pytest.raises(RolloutError, match="temperature"):
        policy.sample(PROMPTS, **{**HOW, "temperature": -1.0})
    with pytest.raises(RolloutError, match="vocabulary"):
        policy.sample([PROMPTS[0], [100_000]], **HOW)
    assert policy.sample(PROMPTS[:1], **HOW) == before


def test_a_server_that_is_not_there_and_a_model_it_has_not(remote: RemotePolicy) -> None:
    with RemotePolicy("http://127.0.0.1:9", "tiny") as nobody, pytest.raises(RolloutError, match="cannot be reached"):
        nobody.sample(PROMPTS, **HOW)
    transport = remote._http._transport  # the app of the other client
    with pytest.raises(RolloutError, match="401"):
        RemotePolicy("http://test", "org/tiny", api_key="wrong", transport=transport).sample(PROMPTS, **HOW)
    with pytest.raises(RolloutError, match="serves no 'tinny' but: org/tiny"):
        RemotePolicy("http://test", "tinny", api_key="secret", transport=transport).sample(PROMPTS, **HOW)


def test_checkpoints_that_are_no_policy_and_no_reward_model(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="no trained scoring model"):
        LocalRewards(checkpoints[0], CONFIG)
    with pytest.raises(RolloutError, match="no model directory"):
        LocalPolicy(tmp_path, CONFIG)
    adapter = write_adapter(tmp_path / "adapter", checkpoints[0], 0)
    config = CONFIG.model_copy(update={"lora": {"mine": str(adapter)}})
    with LocalPolicy(checkpoints[0], config) as policy, pytest.raises(RolloutError, match="adapters"):
        policy.push(checkpoints[1])


def test_scores_are_the_reward_models_own(tmp_path: Path) -> None:
    """The head's output at the last token of the whole conversation as the template writes it."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    directory = write_reward(tmp_path / "reward")
    talks = [[("user", "May I?"), ("assistant", answer)] for answer in ("Yes.", "No, not at all.", "")]
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    expected = []
    for talk in talks:
        wire = [{"role": role, "content": content} for role, content in talk]
        text = tokenizer.apply_chat_template(wire, tokenize=False)
        with torch.inference_mode():
            expected.append(float(model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits[0, 0]))
    with LocalRewards(directory, CONFIG) as rewards:
        scores: Scores = rewards
        assert scores.score(talks) == pytest.approx(expected, abs=1e-4)
        assert scores.score([]) == []
        with pytest.raises(RolloutError, match="context window"):
            scores.score([[("user", "x" * 600), ("assistant", "y")]])


def test_the_thread_ends_with_the_policy(checkpoints: tuple[Path, Path]) -> None:
    policy = LocalPolicy(checkpoints[0], CONFIG)
    policy.close()
    policy.close()
