"""Advantages, clipped losses and KL estimates: laws that hold for any rollout."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.losses.draws import generator, normal
from trimtab.training import losses

REWARDS, VALUES = normal(40, seed=1).reshape(5, 8), normal(40, seed=2).reshape(5, 8)
MASK = torch.arange(8) < torch.tensor([1, 3, 5, 7, 8])[:, None]


def table(seed: int, size: int = 8) -> Tensor:
    return torch.log_softmax(torch.randn(size, generator=generator(seed), dtype=torch.float64), 0)


def test_full_traces_give_reward_to_go_less_value() -> None:
    found, returns = losses.advantages(REWARDS, VALUES, MASK, gamma=1.0, lam=1.0)
    to_go = (REWARDS * MASK).flip(1).cumsum(1).flip(1)
    assert_close(found, (to_go - VALUES) * MASK)
    assert_close(returns, to_go * MASK)


def test_no_trace_gives_the_one_step_error() -> None:
    found, _ = losses.advantages(REWARDS, VALUES, MASK, gamma=0.9, lam=0.0)
    following = torch.cat([(VALUES * MASK)[:, 1:], torch.zeros(5, 1)], 1)
    assert_close(found, (REWARDS + 0.9 * following - VALUES) * MASK)


def test_what_stands_beyond_the_end_does_not_matter() -> None:
    beyond = torch.where(MASK, 0.0, float("nan"))
    for before, after in zip(
        losses.advantages(REWARDS, VALUES, MASK), losses.advantages(REWARDS + beyond, VALUES + beyond, MASK), strict=True
    ):
        assert_close(after, before)
    assert_close(losses.whiten(REWARDS + beyond, MASK), losses.whiten(REWARDS, MASK))


def test_whitened_tokens_have_mean_zero_and_variance_one() -> None:
    real = losses.whiten(REWARDS, MASK)[MASK]
    assert real.mean().item() == pytest.approx(0.0, abs=1e-12)
    assert real.var().item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("tokens", [0, 1])
def test_whitening_too_few_tokens_gives_zero(tokens: int) -> None:
    assert not losses.whiten(REWARDS[0], torch.arange(8) < tokens).any()


def test_ppo_on_policy_gradient_is_the_policy_gradient() -> None:
    logprobs = table(1).requires_grad_()
    advantages = normal(8, seed=3)
    (gradient,) = torch.autograd.grad(losses.ppo_policy(logprobs, logprobs.detach(), advantages).sum(), logprobs)
    assert_close(gradient, -advantages)


def test_ppo_gives_no_gradient_beyond_the_clip() -> None:
    # ratios 1.3, 0.7 moved the way the advantage asks for: stopped; the other way: not stopped, gradient -A ratio
    logprobs = torch.tensor([1.3, 0.7, 1.3, 0.7], dtype=torch.float64).log().requires_grad_()
    advantages = torch.tensor([1.0, -1.0, -1.0, 1.0])
    (gradient,) = torch.autograd.grad(losses.ppo_policy(logprobs, torch.zeros(4), advantages).sum(), logprobs)
    assert_close(gradient, torch.tensor([0.0, 0.0, 1.3, -0.7], dtype=torch.float64))


def test_ppo_value_within_the_clip_is_half_the_squared_error() -> None:
    values = VALUES + 0.1
    assert_close(losses.ppo_value(values, VALUES, REWARDS, clip=0.2), 0.5 * (values - REWARDS).square())


def test_group_advantages_ignore_shift_and_scale_ignores_units() -> None:
    scaled, unscaled = losses.group_advantages(REWARDS), losses.group_advantages_unscaled(REWARDS)
    assert_close(losses.group_advantages_unscaled(REWARDS + 5), unscaled)
    assert_close(losses.group_advantages(REWARDS * 1000), scaled, rtol=1e-3, atol=0)
    assert_close(scaled.std(-1), torch.ones(5, dtype=torch.float64), rtol=1e-3, atol=0)
    assert not losses.group_advantages(torch.full((1, 4), 0.5)).any()


def test_leave_one_out_is_the_centred_reward_times_k_over_k_less_one() -> None:
    assert_close(losses.leave_one_out(REWARDS), losses.group_advantages_unscaled(REWARDS) * 8 / 7)


@pytest.mark.parametrize("baseline", [losses.leave_one_out, losses.group_advantages, losses.group_advantages_unscaled])
def test_one_sample_has_no_baseline(baseline: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        baseline(torch.ones(3, 1))


def test_leave_one_out_estimates_the_policy_gradient_without_bias() -> None:
    # mean over all 64 pairs of samples of 8 outcomes, each weighted with its probability, against the exact gradient
    logits = torch.randn(8, generator=generator(5), dtype=torch.float64, requires_grad=True)
    rewards = normal(8, seed=6)
    logps = torch.log_softmax(logits, 0)
    samples = torch.tensor(list(itertools.product(range(8), repeat=2)))
    chance = logps[samples].sum(-1).exp().detach()
    loss = losses.ppo_policy(logps[samples], logps[samples].detach(), losses.leave_one_out(rewards[samples])).mean(-1)
    (estimate,) = torch.autograd.grad((chance * loss).sum(), logits, retain_graph=True)
    (exact,) = torch.autograd.grad(-(logps.exp() @ rewards), logits)
    assert_close(estimate, exact)


def test_kl_estimates_on_average() -> None:
    policy, reference = table(1), table(2)
    d = policy - reference
    exact = losses.reverse_kl(policy, reference)
    assert_close(policy.exp() @ losses.k1(d), exact)
    assert_close(policy.exp() @ losses.k3(d), exact)
    assert (losses.k2(d) >= 0).all()
    assert (losses.k3(d) >= 0).all()


def test_gradients_of_kl_estimates_used_as_losses() -> None:
    logits, reference = table(1).requires_grad_(), table(2)
    policy = torch.log_softmax(logits, 0)

    def gradient(objective: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(objective, logits, retain_graph=True)
        return found

    def on_samples(values: Tensor) -> Tensor:
        return gradient(policy.exp().detach() @ values)

    d = policy - reference
    assert_close(on_samples(losses.k1(d)), torch.zeros(8, dtype=torch.float64))
    assert_close(on_samples(losses.k2(d)), gradient(losses.reverse_kl(policy, reference)))
    assert_close(on_samples(losses.k3(d)), gradient(losses.forward_kl(policy, reference)))


def test_k3_keeps_its_digits_near_zero() -> None:
    # d^2/2 - d^3/6: in float32 the sum e^-d - 1 + d would be 0 or 6e-8 here
    assert losses.k3(torch.tensor([1e-3])).item() == pytest.approx(4.99833e-7, rel=1e-3)
