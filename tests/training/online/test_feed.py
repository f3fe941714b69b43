"""The loop between rollouts and steps: what is read, warned of, stopped and kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.online.toy import Toy, distribution, network, outcomes, toy
from trimtab.training.data.batch import Batch
from trimtab.training.errors import OutputError, RolloutError
from trimtab.training.methods.base import Scored
from trimtab.training.methods.online import GrpoConfig, PpoConfig, RestConfig, RlooConfig
from trimtab.training.trainer import last_checkpoint

PPO = PpoConfig(prompts=4, samples=2, max_new_tokens=3, rollout_epochs=2)
RLOO = RlooConfig(prompts=4, samples=4, max_new_tokens=3)


def share_of_a(text: str) -> float:
    return text.count("a") / 3


def first_batches(run: Toy, count: int) -> list[Batch]:
    batches = run.feed.batches(0)
    return [next(batches) for _ in range(count)]


def logged(run: Toy, name: str) -> list[float]:
    return [row[name] for row in run.trainer.state.log_history if name in row]


class TestReading:
    @pytest.mark.parametrize("temperature", [1.0, 0.7])
    def test_ratio_before_an_update_is_one(self, temperature: float, tmp_path: Path) -> None:
        """In every minibatch of every pass, at the sampling temperature; the KL is 0 as long as nothing moved."""
        run = toy(PPO.model_copy(update={"temperature": temperature}), share_of_a, tmp_path, steps=4)
        for batch in first_batches(run, 4):
            assert batch.online is not None
            read = run.module(batch)
            assert_close(read.logprobs.exp() / batch.online.old.exp(), torch.ones_like(batch.online.old))
            assert_close(batch.online.old, batch.online.reference)
            assert_close(read.values, batch.online.values)
        assert run.feed.drain()["kl"] == pytest.approx(0.0, abs=1e-6)

    def test_old_log_probabilities_are_the_engine_s(self, tmp_path: Path) -> None:
        """At temperature 1 the sampled distribution is the trainer's own: the enumerated one."""
        run = toy(RLOO, share_of_a, tmp_path, steps=2)
        exact = dict(zip(outcomes(), distribution(network()).tolist(), strict=True))
        batch = first_batches(run, 1)[0]
        assert batch.online is not None
        sums = torch.zeros(batch.responses).index_add(0, batch.response, batch.online.old)
        expected = [exact[branch.ids] for example in batch.examples for branch in example.branches]
        assert_close(sums, torch.tensor(expected), rtol=1e-4, atol=1e-5)

    def test_minibatches_cover_a_rollout_each_pass(self, tmp_path: Path) -> None:
        run = toy(PPO, share_of_a, tmp_path, steps=4)
        batches = first_batches(run, 4)
        passes = [[example for batch in batches[i : i + 2] for example in batch.examples] for i in (0, 2)]
        assert sorted(map(repr, passes[0])) == sorted(map(repr, passes[1]))
        assert len(run.engine.asked) == 1

    def test_entropy_is_that_of_the_policy(self, tmp_path: Path) -> None:
        """After the prompt, by hand from its logits."""
        run = toy(GrpoConfig(prompts=2, samples=2, max_new_tokens=1, entropy_bonus=0.1), share_of_a, tmp_path, steps=1)
        read = run.module(first_batches(run, 1)[0])
        model = network()
        model.set_attn_implementation("eager")
        logps = model(torch.tensor([[3]]), use_cache=False).logits[0, -1].log_softmax(-1)
        assert_close(read.entropy, -(logps.exp() @ logps).expand(4), rtol=1e-4, atol=1e-5)
        read.entropy.sum().backward()
        assert run.module.network.lm_head.weight.grad.abs().sum() > 0


class TestWarnings:
    def test_an_engine_of_another_policy(self, tmp_path: Path) -> None:
        run = toy(RLOO, share_of_a, tmp_path, steps=2)
        run.engine._shift = 0.05
        run.train()
        assert logged(run, "engine_gap")[0] == pytest.approx(0.05, abs=1e-4)
        assert sum("another policy" in line for line in run.told) == 1

    def test_staleness_is_told(self, tmp_path: Path) -> None:
        run = toy(RLOO, share_of_a, tmp_path, steps=2)
        run.engine._stale = 2
        assert logged(run.train(), "staleness") == [2.0]

    def test_weights_alternate_between_two_directories(self, tmp_path: Path) -> None:
        run = toy(RLOO, share_of_a, tmp_path, steps=6).train()
        assert [path.name for path in run.engine.pushed] == ["0", "1", "0"]
        for pushed, trained in zip(
            run.engine.network.state_dict().values(), run.module.network.state_dict().values(), strict=True
        ):
            assert pushed.shape == trained.shape

    def test_signs_are_told_once(self, tmp_path: Path) -> None:
        """Answers that end by themselves are paid nothing, others 1: their share falls, over more than 20 rollouts."""
        method = RlooConfig(prompts=2, samples=16, max_new_tokens=3, beta=0.0)
        run = toy(method, lambda text: float(len(text) == 3), tmp_path, steps=32, lr=3e-2).train()
        assert logged(run, "eos_rate")[-1] < 0.2
        assert sum("cut off at the length limit" in line for line in run.told) == 1


class TestKl:
    def test_beta_is_steered(self, tmp_path: Path) -> None:
        """Far below the target each rollout of 16 answers lowers beta by 1 - .2 x 16 / 32."""
        method = RLOO.model_copy(update={"kl_target": 1e6, "kl_horizon": 32, "beta": 1.0})
        run = toy(method, share_of_a, tmp_path, steps=6, lr=1e-5).train()
        assert logged(run, "beta") == pytest.approx([1.0, 0.9, 0.81])

    def test_beyond_the_cap_the_last_good_weights_return(self, tmp_path: Path) -> None:
        method = RLOO.model_copy(update={"kl_cap": 0.05, "beta": 0.0})
        run = toy(method, share_of_a, tmp_path, steps=40, lr=3e-2)
        good: list[Tensor] = []
        passes = run.feed._guard.passes

        def noted(kl: float) -> bool:
            if kl <= 0.05:
                good[:] = [parameter.detach().clone() for parameter in run.module.parameters()]
            return bool(passes(kl))

        run.feed._guard.passes = noted
        run.train()
        assert run.trainer.state.global_step < 40
        assert "stopped" in run.told[-1]
        assert "beyond kl_cap 0.05" in run.told[-1]
        for kept, now in zip(good, run.module.parameters(), strict=True):
            assert torch.equal(kept, now)

    def test_a_heavy_kl_keeps_the_reference(self, tmp_path: Path) -> None:
        free, held = (
            toy(RLOO.model_copy(update={"beta": beta}), share_of_a, tmp_path / str(beta), steps=12, lr=1e-2).train()
            for beta in (0.0, 20.0)
        )
        assert logged(held, "kl")[-1] < 0.25 * logged(free, "kl")[-1]


class TestBadEngines:
    def test_too_few_samples(self, tmp_path: Path) -> None:
        run = toy(RLOO, share_of_a, tmp_path, steps=2)
        sample = run.engine.sample
        run.engine.sample = lambda prompts, **more: sample(prompts, **{**more, "n": 1})  # type: ignore[method-assign]
        with pytest.raises(RolloutError, match="asked for 4 samples each"):
            first_batches(run, 1)

    @pytest.mark.parametrize(("reward", "told"), [(float("nan"), "16 of 16 scores are not finite"), (float("inf"), "inf")])
    def test_scores_that_are_no_numbers(self, reward: float, told: str, tmp_path: Path) -> None:
        with pytest.raises(RolloutError, match=told):
            first_batches(toy(RLOO, lambda _: reward, tmp_path, steps=2), 1)

    def test_no_answer_passes(self, tmp_path: Path) -> None:
        method = RestConfig(prompts=4, samples=2, max_new_tokens=3, select="absolute", thresholds=(2.0,))
        with pytest.raises(RolloutError, match=r"passes threshold 2: the best reward is 0\.5"):
            first_batches(toy(method, lambda _: 0.5, tmp_path, steps=2), 1)


class TestCheckpoints:
    def test_a_checkpoint_waits_for_the_end_of_its_rollout(self, tmp_path: Path) -> None:
        """Rollouts of 4 steps; saved every 3: due at 3, 6 and 9, made at 4, 8 and 12."""
        run = toy(PPO, share_of_a, tmp_path, steps=12, save_strategy="steps", save_steps=3).train()
        found = sorted(path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*"))
        assert found == ["checkpoint-12", "checkpoint-4", "checkpoint-8"]
        assert run.trainer.state.global_step == 12

    @pytest.mark.parametrize(
        "method", [PPO.model_copy(update={"kl_target": 0.1, "kl_horizon": 50, "whiten_scores": True}), RLOO]
    )
    def test_resumed_equals_uninterrupted(self, method: Any, tmp_path: Path) -> None:
        """Losses, rewards, steered betas and final weights, the value model's too."""
        given: dict[str, Any] = {"steps": 12, "lr": 1e-2, "save_strategy": "steps", "save_steps": 4}
        whole = toy(method, share_of_a, tmp_path / "whole", **given).train()
        toy(method, share_of_a, tmp_path / "cut", **{**given, "steps": 4}).train()
        resumed = toy(method, share_of_a, tmp_path / "cut", **given)
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoints" / "checkpoint-4"))
        for name in ("loss", "reward", "kl", "beta"):
            assert logged(resumed, name) == pytest.approx(logged(whole, name), rel=1e-6, abs=1e-9), name
        for first, second in zip(whole.module.parameters(), resumed.module.parameters(), strict=True):
            assert_close(first, second, rtol=1e-6, atol=1e-8)
        assert resumed.engine.asked == whole.engine.asked[-len(resumed.engine.asked) :]

    def test_a_checkpoint_of_another_run(self, tmp_path: Path) -> None:
        """Without its numbers, with another value model, or taken within a rollout."""
        toy(PPO, share_of_a, tmp_path, steps=4, save_strategy="steps", save_steps=4).train()
        folder = last_checkpoint(tmp_path / "checkpoints")
        assert folder is not None
        again = toy(PPO, share_of_a, tmp_path / "again", steps=8)
        again.feed.load(folder)
        with pytest.raises(OutputError, match="step 2 lies within a rollout of 4 steps"):
            next(again.feed.batches(2))
        (folder / "value.safetensors").unlink()
        with pytest.raises(OutputError, match="no checkpoint of an online run"):
            again.feed.load(folder)

    def test_numbers_are_json(self, tmp_path: Path) -> None:
        run = toy(RLOO, share_of_a, tmp_path, steps=2, save_strategy="steps", save_steps=2).train()
        numbers = json.loads((tmp_path / "checkpoints" / "checkpoint-2" / "online.json").read_text())
        assert numbers["beta"] == RLOO.beta
        assert numbers["watch"]["course"]["reward"] == logged(run, "reward")


def test_values_after_the_end_do_not_matter(tmp_path: Path) -> None:
    """An answer's last hidden state predicts nothing: changing the row there changes no loss of a token before."""
    run = toy(PPO, share_of_a, tmp_path, steps=4)
    batch = first_batches(run, 1)[0]
    ids = batch.ids.clone()
    ids[batch.ends] = (ids[batch.ends] + 1) % 4  # the end tokens as inputs; as targets they stay
    losses = [PPO.losses(Scored(one, run.module(one))) for one in (batch, replace(batch, ids=ids))]
    assert_close(losses[0], losses[1])
