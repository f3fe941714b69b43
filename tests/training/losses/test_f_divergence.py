"""Divergences on tables: bounds, symmetry, and that the sample losses have the exact gradient on average."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.losses.draws import generator
from trimtab.training import losses

Divergence = Callable[[Tensor, Tensor], Tensor]
FORMS: dict[str, tuple[Divergence, Divergence]] = {
    "forward_kl": (losses.forward_kl, losses.f_dpg_forward_kl),
    "reverse_kl": (losses.reverse_kl, losses.f_dpg_reverse_kl),
    "jensen_shannon": (losses.jensen_shannon, losses.f_dpg_jensen_shannon),
    "total_variation": (losses.total_variation, losses.f_dpg_total_variation),
}
each_form = pytest.mark.parametrize(("divergence", "pseudo_reward"), FORMS.values(), ids=FORMS.keys())


def tables(seed: int) -> Tensor:
    return 2 * torch.randn(100, 8, generator=generator(seed), dtype=torch.float64)


@each_form
@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_sample_loss_has_the_exact_gradient(divergence: Divergence, pseudo_reward: Divergence, baseline: float) -> None:
    logits, target = tables(1).requires_grad_(), tables(2).log_softmax(-1)
    policy = logits.log_softmax(-1)
    loss = losses.f_dpg(policy, pseudo_reward(policy, target), baseline=baseline)
    (sampled,) = torch.autograd.grad((policy.exp().detach() * loss).sum(), logits, retain_graph=True)
    (exact,) = torch.autograd.grad(divergence(policy, target).sum(), logits)
    assert_close(sampled, exact)


@each_form
def test_zero_at_the_target_and_positive_elsewhere(divergence: Divergence, pseudo_reward: Divergence) -> None:
    policy, target = tables(1).log_softmax(-1), tables(2).log_softmax(-1)
    assert_close(divergence(target, target), torch.zeros(100, dtype=torch.float64))
    assert (divergence(policy, target) > 0).all()


@each_form
def test_pseudo_reward_falls_as_the_policy_exceeds_the_target(divergence: Divergence, pseudo_reward: Divergence) -> None:
    ratios = torch.linspace(-5, 5, 101, dtype=torch.float64)
    assert (pseudo_reward(ratios, torch.zeros_like(ratios)).diff() <= 0).all()


def test_forward_is_reverse_with_the_roles_swapped() -> None:
    policy, target = tables(1).log_softmax(-1), tables(2).log_softmax(-1)
    assert_close(losses.forward_kl(policy, target), losses.reverse_kl(target, policy))


def test_symmetric_ones_are_bounded_and_symmetric() -> None:
    policy, target = tables(1).log_softmax(-1), tables(2).log_softmax(-1)
    for divergence, bound in ((losses.jensen_shannon, math.log(2)), (losses.total_variation, 1.0)):
        assert_close(divergence(policy, target), divergence(target, policy))
        assert (divergence(policy, target) < bound).all()


def test_pinsker() -> None:
    policy, target = tables(1).log_softmax(-1), tables(2).log_softmax(-1)
    assert (losses.total_variation(policy, target) <= (losses.reverse_kl(policy, target) / 2).sqrt()).all()


def test_a_target_may_exclude_an_outcome() -> None:
    # target (1, 0), policy (1/2, 1/2): forward KL log 2; mixture (3/4, 1/4): JS = (log(4/3) + log(2/3)/2 + log(2)/2)/2
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    policy, target = logits.log_softmax(-1), torch.tensor([0.0, -math.inf], dtype=torch.float64)
    assert losses.forward_kl(policy, target).item() == pytest.approx(math.log(2))
    expected = (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2
    assert losses.jensen_shannon(policy, target).item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(losses.forward_kl(policy, target), logits)
    assert_close(gradient, torch.tensor([-0.5, 0.5], dtype=torch.float64))
