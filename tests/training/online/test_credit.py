"""What the tokens of a rollout are worth, and what a step makes of it: by hand, and against TRL's PPO."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from trimtab.training.data.batch import Batch, OnlineTargets, collate
from trimtab.training.data.examples import Branch, Example
from trimtab.training.errors import ConfigInvalid, DataError
from trimtab.training.methods.base import Scored
from trimtab.training.methods.catalogue import every_config, method
from trimtab.training.methods.online import (
    GrpoConfig,
    Plan,
    PolicyGradientConfig,
    PpoConfig,
    RestConfig,
    RlooConfig,
    prompts_needed,
)
from trimtab.training.methods.policy_gradient import Judged
from trimtab.training.networks import Readout
from trimtab.training.online.steering import row_mask, rows, steered

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "data" / "ppo_trl.json").read_text())["cases"]


def judged(scores: list[float], lengths: list[int], penalty: Tensor | None = None, values: Tensor | None = None) -> Judged:
    mask = row_mask(torch.tensor(lengths))
    none = torch.zeros(mask.shape)
    return Judged(torch.tensor(scores), none if penalty is None else penalty, mask, values)


def batch_of(lengths: list[int], targets: OnlineTargets, *, samples: int = 1) -> Batch:
    """Answers of these lengths, so many to a prompt."""
    branches = [Branch(tuple(range(1, size + 1))) for size in lengths]
    groups = [tuple(branches[start : start + samples]) for start in range(0, len(branches), samples)]
    return replace(collate([Example((1, 2), group) for group in groups]), online=targets)


def targets(old: Tensor, advantages: Tensor, **more: Any) -> OnlineTargets:
    return OnlineTargets(old=old, reference=more.pop("reference", old), advantages=advantages, **more)


class TestPpo:
    def test_score_on_the_end_token(self) -> None:
        """Rewards (0, 0, 1) and values (.5, .4, .3), gamma 1, lam .95: by the recursion backwards,
        .7; .3 - .4 + .95 x .7 = .565; .4 - .5 + .95 x .565 = .43675; returns are those plus the values."""
        found = PpoConfig().credit(judged([1.0], [3], values=torch.tensor([[0.5, 0.4, 0.3]])))
        assert found.returns is not None
        assert_close(found.returns, torch.tensor([[0.93675, 0.965, 1.0]]))
        assert_close(found.advantages, torch.tensor([[-0.991344, -0.017092, 1.008436]]), rtol=1e-5, atol=1e-6)

    def test_score_of_a_shorter_answer_stands_on_its_own_last_token(self) -> None:
        """Values 0 and lam 0: an advantage is the token's own reward, 3 on token 1 of the first and 5 on token 2 of the other.

        Of (0, 3, 0, 0, 5) the mean is 1.6 and the sample variance 5.3.
        """
        config = PpoConfig(lam=0.0, gamma=0.0)
        found = config.credit(judged([3.0, 5.0], [2, 3], values=torch.zeros(2, 3)))
        expected = (torch.tensor([0.0, 3.0, 0.0, 0.0, 5.0]) - 1.6) / 5.3**0.5
        assert_close(found.advantages[row_mask(torch.tensor([2, 3]))], expected)

    def test_values_after_the_end_do_not_matter(self) -> None:
        values = torch.tensor([[0.5, 0.4, 0.0], [0.1, 0.2, 0.3]])
        beyond = values.clone()
        beyond[0, 2] = 1e6
        first, second = (PpoConfig().credit(judged([1.0, 2.0], [2, 3], values=one)) for one in (values, beyond))
        assert torch.equal(first.advantages, second.advantages)

    def test_kl_in_the_reward(self) -> None:
        """k1: beta times the difference of log-probabilities, .1 x (.5, -.2); in the loss it costs no reward."""
        old, reference = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.8])
        assert_close(PpoConfig().penalty(old, reference, 0.1), torch.tensor([0.05, -0.02]))
        assert not PpoConfig(kl_in="loss", kl="k2").penalty(old, reference, 0.1).any()

    def test_loss_by_hand(self) -> None:
        """Ratios 1.3 and .7 with advantages 1 and 1: -1.2 and -.7. Value .9, old .5, return 1: .5 max(.01, .09) = .045;
        value 1 of return 1 is .5 away from its old one, clipped to .7: .045 too. In all -1.9 + .1 x .09."""
        old = torch.zeros(2)
        online = targets(old, torch.ones(2), values=torch.full((2,), 0.5), returns=torch.ones(2))
        read = Readout(logprobs=torch.tensor([1.3, 0.7]).log(), values=torch.tensor([0.9, 1.0]))
        scored = Scored(batch_of([2], online), read)
        assert_close(PpoConfig().losses(scored), torch.tensor([-1.9 + 0.009]))
        metrics = PpoConfig().metrics(scored)
        assert_close(metrics["clip_fraction"], torch.ones(2))
        assert_close(metrics["value_loss"], torch.full((2,), 0.045))
        assert PpoConfig().items(scored.batch) == 2

    @pytest.mark.parametrize("case", RECORDED)
    def test_as_in_trl(self, case: dict[str, Any]) -> None:
        told, given, found = case["settings"], case["given"], case["found"]
        config = PpoConfig(
            beta=told["kl_coef"], kl=told["kl_estimator"], gamma=told["gamma"], lam=told["lam"], value_weight=told["vf_coef"]
        )
        tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in given.items()}
        old, reference = tensors["logprobs"], tensors["ref_logprobs"]
        mask = torch.ones(old.shape, dtype=torch.bool)
        penalty = config.penalty(old, reference, config.beta)
        credit = config.credit(Judged(tensors["scores"], penalty, mask, tensors["values"]))
        assert credit.returns is not None
        assert_close(credit.advantages, torch.tensor(found["advantages"], dtype=torch.float64))
        assert_close(credit.returns, torch.tensor(found["returns"], dtype=torch.float64))
        online = targets(
            old.flatten(), credit.advantages.flatten(), values=tensors["values"].flatten(), returns=credit.returns.flatten()
        )
        read = Readout(logprobs=tensors["new_logprobs"].flatten(), values=tensors["new_values"].flatten())
        scored = Scored(batch_of([old.shape[1]] * old.shape[0], online), read)
        loss = config.losses(scored).sum() / config.items(scored.batch)
        assert loss.item() == pytest.approx(found["loss"], rel=1e-5)  # sums of tokens are float32 here


class TestGroups:
    def test_leave_one_out_by_hand(self) -> None:
        """Scores (1, 2, 6) less the KL's (0, 1, 0): (1, 1, 6); others' means 3.5, 3.5, 1."""
        penalty = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.0, 0.0]])
        found = RlooConfig(samples=3).credit(judged([1.0, 2.0, 6.0], [2, 2, 1], penalty)).advantages
        assert_close(found, torch.tensor([-2.5, -2.5, 5.0])[:, None].expand(3, 2))

    def test_group_by_hand(self) -> None:
        """Scores (0, 2): mean 1, sample deviation sqrt 2; the second group's are equal."""
        found = GrpoConfig(samples=2).credit(judged([0.0, 2.0, 5.0, 5.0], [1, 1, 1, 1])).advantages[:, 0]
        assert_close(found, torch.tensor([-0.7071, 0.7071, 0.0, 0.0]), rtol=0, atol=1e-4)

    def test_rloo_takes_an_answer_as_one_action(self) -> None:
        """Token ratios 1.1 and 1.2 make 1.32, clipped at 1.2; an answer counts once however long it is."""
        online = targets(torch.zeros(3), torch.tensor([2.0, 2.0, -2.0]))
        scored = Scored(batch_of([2, 1], online, samples=2), Readout(logprobs=torch.tensor([1.1, 1.2, 0.9]).log()))
        assert_close(RlooConfig().losses(scored), torch.tensor([-2.4 + 1.8]))
        assert RlooConfig().items(scored.batch) == 2
        assert_close(RlooConfig().metrics(scored)["clip_fraction"], torch.tensor([1.0, 0.0]))

    def test_kl_in_the_loss(self) -> None:
        """k3 of d = .2 is .018731; advantages are 0; beta comes with the batch, as it may be steered."""
        online = targets(torch.zeros(1), torch.zeros(1), reference=torch.tensor([-0.2]), beta=2.0)
        scored = Scored(batch_of([1], online), Readout(logprobs=torch.zeros(1)))
        assert GrpoConfig(beta=1.0).losses(scored).item() == pytest.approx(2 * 0.018731, rel=1e-4)

    @pytest.mark.parametrize("config", [RlooConfig(entropy_bonus=0.5), GrpoConfig(entropy_bonus=0.5)])
    def test_entropy_lowers_the_loss(self, config: PolicyGradientConfig) -> None:
        online = targets(torch.zeros(2), torch.zeros(2))
        read = Readout(logprobs=torch.zeros(2), entropy=torch.tensor([1.0, 3.0]))
        assert_close(config.losses(Scored(batch_of([2], online), read)), torch.tensor([-2.0]))

    @pytest.mark.parametrize("kind", ["ppo", "rloo", "grpo"])
    def test_the_first_step_follows_the_policy_gradient(self, kind: str) -> None:
        """Before an update the ratio is 1: the gradient of each log-probability is minus its advantage."""
        logprobs = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
        worth = torch.tensor([0.5, 0.5, -2.0])
        online = targets(logprobs.detach(), worth, values=torch.zeros(3), returns=torch.zeros(3))
        config = every_config()[kind].model_validate({})
        scored = Scored(batch_of([2, 1], online), Readout(logprobs=logprobs, values=torch.zeros(3)))
        config.losses(scored).sum().backward()  # type: ignore[attr-defined]
        assert_close(logprobs.grad, -worth)


class TestRewards:
    def test_shape_of_rewards(self) -> None:
        """A cut answer loses 1 after its score is clipped; log sigmoid of 0 is -log 2."""
        ended = torch.tensor([True, False, True])
        clipped = PpoConfig(reward_clip=2.0, missing_eos_penalty=1.0).shaped(torch.tensor([5.0, 5.0, -9.0]), ended)
        assert_close(clipped, torch.tensor([2.0, 1.0, -2.0]))
        assert_close(PpoConfig(score="log_sigmoid").shaped(torch.zeros(3), ended), torch.full((3,), -0.693147))

    def test_steering_by_hand(self) -> None:
        """KL 1.1 times the target: error .1, clipped at .2 beyond; n / horizon = 100 / 1000."""
        given = {"target": 2.0, "samples": 100, "horizon": 1000}
        assert steered(0.5, 2.2, **given) == pytest.approx(0.5 * 1.01)  # type: ignore[arg-type]
        assert steered(0.5, 99.0, **given) == pytest.approx(0.5 * 1.02)  # type: ignore[arg-type]
        assert steered(0.5, 0.0, **given) == pytest.approx(0.5 * 0.98)  # type: ignore[arg-type]

    def test_rows_keep_answers_apart(self) -> None:
        lengths = torch.tensor([2, 1])
        assert_close(rows(torch.tensor([1.0, 2.0, 3.0]), lengths), torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
        assert row_mask(lengths).tolist() == [[True, True], [True, False]]


class TestRest:
    REWARDS = torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 9.0, 9.0, 5.0]])

    @pytest.mark.parametrize(
        ("config", "counts"),
        [
            # the median of (0 1 2 3 4 5 9 9) lies between 3 and 4, the quantile .75 at 6, .9 at 9
            (RestConfig(), [4, 2, 2]),
            (RestConfig(select="absolute", thresholds=(2.0, 4.5)), [5, 3]),
            (RestConfig(select="per_prompt_best"), [2]),
        ],
    )
    def test_thresholds(self, config: RestConfig, counts: list[int]) -> None:
        assert [int(config.kept(self.REWARDS, one).sum()) for one in range(config.improvements)] == counts

    def test_the_best_of_a_prompt_is_the_first_of_equals(self) -> None:
        kept = RestConfig(select="per_prompt_best").kept(self.REWARDS, 0)
        assert kept.nonzero().tolist() == [[0, 3], [1, 1]]

    def test_thresholds_rise(self) -> None:
        with pytest.raises(ValidationError, match="rise"):
            RestConfig(thresholds=(0.9, 0.5))
        with pytest.raises(ValidationError, match="between 0 and 1"):
            RestConfig(thresholds=(0.5, 2.0))


class TestPlans:
    def test_a_rollout_is_a_whole_number_of_steps(self) -> None:
        assert PpoConfig(prompts=8).plan(4) == Plan(8, 8)
        assert RestConfig(prompts=8, improve_steps=5).plan(4) == Plan(8, 15)
        with pytest.raises(ConfigInvalid, match="prompts 8 is no multiple of the 3"):
            PpoConfig(prompts=8).plan(3)

    def test_prompts_make_whole_rollouts(self) -> None:
        config = PpoConfig(prompts=8)
        assert prompts_needed(config, 9, 0.0, 4) == 16
        assert prompts_needed(config, None, 17.0, 4) == 24

    def test_a_prompt_needs_room_for_an_answer(self) -> None:
        short, long = Example((1,) * 4, ()), Example((1,) * 9, ())
        assert PpoConfig(max_new_tokens=6).prepare([short, long], 12) == [short]
        with pytest.raises(DataError, match="no prompt leaves room for 6 new tokens within max_length 9"):
            PpoConfig(max_new_tokens=6).prepare([short, long], 9)

    def test_bad_parameters_name_what_is_allowed(self) -> None:
        with pytest.raises(ConfigInvalid, match=r"samples.*Parameters of rloo: .*beta"):
            method("rloo", {"samples": 1})
        with pytest.raises(ConfigInvalid, match="k1 has no gradient"):
            method("ppo", {"kl_in": "loss"})
