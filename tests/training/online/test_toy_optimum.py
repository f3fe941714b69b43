"""The whole loop on a policy whose answers can be listed: it must reach the known optimum of its objective."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.online.toy import END, Letters, distribution, network, outcomes, toy
from trimtab.training.methods.online import OnlineMethod, PpoConfig, RestConfig, RlooConfig


def reward(text: str) -> float:
    return text.count("a") - 0.5 * text.count("b")


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return distribution(network())


@pytest.fixture(scope="module")
def rewards() -> Tensor:
    return torch.tensor([reward(Letters().decode([token for token in ids if token != END])) for ids in outcomes()])


def distance(first: Tensor, second: Tensor) -> float:
    """Total variation."""
    return float((first.exp() - second.exp()).abs().sum() / 2)


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        pytest.param(RlooConfig(prompts=2, samples=128, max_new_tokens=3, beta=1.0), 60, id="rloo"),
        pytest.param(
            PpoConfig(prompts=2, samples=128, max_new_tokens=3, beta=1.0, rollout_epochs=2, value_weight=1.0), 96, id="ppo"
        ),
    ],
)
def test_reward_less_kl_is_maximal(
    method: OnlineMethod, steps: int, reference: Tensor, rewards: Tensor, tmp_path: Path
) -> None:
    """The optimum of E[R] - beta KL is reference e^(R / beta): .32 away at the start, about .05 at the end."""
    assert reference.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    optimum = (reference + rewards).log_softmax(0)
    found = distribution(toy(method, reward, tmp_path, steps=steps, lr=3e-2).train().module.network)
    assert distance(reference, optimum) > 0.3
    assert distance(found, optimum) < 0.12
    assert float(found.exp() @ rewards) == pytest.approx(float(optimum.exp() @ rewards), abs=0.1)


def test_rest_concentrates(reference: Tensor, rewards: Tensor, tmp_path: Path) -> None:
    """Three growths, each with two improvements of twelve steps: answers above the median, then the best tenth."""
    method = RestConfig(prompts=2, samples=64, max_new_tokens=3, thresholds=(0.5, 0.9), improve_steps=12, lr_decay=0.5)
    done = toy(method, reward, tmp_path, steps=72, lr=3e-2, batch=16).train()
    found = distribution(done.module.network)
    assert float(reference.exp() @ rewards) < 0
    assert float(found.exp() @ rewards) > 0.9
    assert len(done.engine.asked) == 3
