"""Losses that must equal another loss at some setting, and the gradients the papers state."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.losses.draws import ONE_TOKEN, columns, lengths, lists_of_two, normal, pair
from trimtab.training import losses
from trimtab.training.losses import PairLogps

POLICY, REFERENCE = pair(seed=1), pair(seed=2)
GAP = (POLICY.chosen - REFERENCE.chosen) - (POLICY.rejected - REFERENCE.rejected)


def with_grad(logps: PairLogps) -> PairLogps:
    return PairLogps(logps.chosen.clone().requires_grad_(), logps.rejected.clone().requires_grad_())


def pair_gradients(loss: Tensor, policy: PairLogps) -> tuple[Tensor, Tensor]:
    chosen, rejected = torch.autograd.grad(loss.sum(), [policy.chosen, policy.rejected])
    return chosen, rejected


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_dpo_gradient_weight_and_sum(beta: float) -> None:
    policy = with_grad(POLICY)
    chosen, rejected = pair_gradients(losses.dpo(policy, REFERENCE, beta=beta), policy)
    assert_close(chosen, -beta * torch.sigmoid(-beta * GAP))
    assert_close(chosen + rejected, torch.zeros(100, dtype=torch.float64))


def test_dpo_gradient_by_hand() -> None:
    # base pair, D = 1.5: -0.1 * sigmoid(-0.15) = -0.1 * 0.462570
    policy = with_grad(PairLogps(*torch.tensor([[-5.0], [-7.0]], dtype=torch.float64)))
    reference = PairLogps(*torch.tensor([[-6.0], [-6.5]], dtype=torch.float64))
    chosen, rejected = pair_gradients(losses.dpo(policy, reference), policy)
    assert chosen.item() == pytest.approx(-0.046257, abs=1e-6)
    assert rejected.item() == pytest.approx(0.046257, abs=1e-6)


def test_ipo_gradient_by_hand() -> None:
    # 2 * (1.5 - 5) with respect to the gap, of which l_w is a summand
    policy = with_grad(PairLogps(*torch.tensor([[-5.0], [-7.0]], dtype=torch.float64)))
    reference = PairLogps(*torch.tensor([[-6.0], [-6.5]], dtype=torch.float64))
    chosen, _ = pair_gradients(losses.ipo_sum(policy, reference, tau=0.1), policy)
    assert chosen.item() == pytest.approx(-7.0)


@pytest.mark.parametrize("beta", [0.01, 0.1, 5.0])
def test_dpo_is_log_two_at_the_reference(beta: float) -> None:
    assert_close(losses.dpo(POLICY, POLICY, beta=beta), torch.full((100,), math.log(2), dtype=torch.float64))


def test_dpo_ignores_a_constant_of_the_prompt() -> None:
    constant = normal(100, seed=9)
    moved = PairLogps(POLICY.chosen + constant, POLICY.rejected + constant)
    assert_close(losses.dpo(moved, REFERENCE), losses.dpo(POLICY, REFERENCE))
    assert_close(losses.dpo(REFERENCE, moved), losses.dpo(REFERENCE, POLICY))


def test_dpo_family_without_noise_or_length_is_dpo() -> None:
    expected = losses.dpo(POLICY, REFERENCE)
    assert_close(losses.conservative_dpo(POLICY, REFERENCE, label_smoothing=0.0), expected)
    assert_close(losses.robust_dpo(POLICY, REFERENCE, label_smoothing=0.0), expected)
    assert_close(losses.soft_dpo(POLICY, REFERENCE, 1.0), expected)
    assert_close(losses.length_normalised_dpo(POLICY, REFERENCE, ONE_TOKEN), expected)
    assert_close(losses.cpl_with_reference(POLICY, REFERENCE, bias=1.0), expected)


def test_dpo_is_bradley_terry_of_the_implicit_reward() -> None:
    chosen = losses.implicit_reward(POLICY.chosen, REFERENCE.chosen)
    rejected = losses.implicit_reward(POLICY.rejected, REFERENCE.rejected)
    assert_close(losses.dpo(POLICY, REFERENCE), losses.bradley_terry(chosen, rejected))
    assert_close(losses.soft_dpo(POLICY, REFERENCE, 0.7), losses.bradley_terry(chosen, rejected, preference=0.7))


def test_robust_dpo_is_unbiased_under_label_noise() -> None:
    # labels flipped with probability e: (1 - e) robust(pair) + e robust(swapped pair) = dpo(pair)
    swapped, swapped_reference = PairLogps(*POLICY[::-1]), PairLogps(*REFERENCE[::-1])
    noisy = 0.8 * losses.robust_dpo(POLICY, REFERENCE, label_smoothing=0.2)
    noisy = noisy + 0.2 * losses.robust_dpo(swapped, swapped_reference, label_smoothing=0.2)
    assert_close(noisy, losses.dpo(POLICY, REFERENCE))


def test_f_dpo_is_dpo_to_first_order_at_the_reference() -> None:
    # f'(u) of forward KL, -1/u, and of reverse KL, log u + 1, have slope 1 at u = 1; of twice JS, log(2u/(u + 1)), slope 1/2
    policy = PairLogps(REFERENCE.chosen + 1e-6, REFERENCE.rejected - 1e-6)
    change = math.log(2) - losses.dpo(policy, REFERENCE)
    assert_close(math.log(2) - losses.f_dpo_forward_kl(policy, REFERENCE), change, rtol=1e-4, atol=0)
    assert_close(math.log(2) - losses.f_dpo_jensen_shannon(policy, REFERENCE), change / 2, rtol=1e-4, atol=0)


def test_ipo_mean_of_single_tokens_is_ipo_sum() -> None:
    assert_close(losses.ipo_mean(POLICY, REFERENCE, ONE_TOKEN), losses.ipo_sum(POLICY, REFERENCE))


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_ipo_is_zero_at_its_target_alone(tau: float) -> None:
    at_target = PairLogps(REFERENCE.chosen + 1 / (2 * tau), REFERENCE.rejected)
    assert_close(losses.ipo_sum(at_target, REFERENCE, tau=tau), torch.zeros(100, dtype=torch.float64))
    assert (losses.ipo_sum(POLICY, REFERENCE, tau=tau) > 0).all()


def test_rso_hinge_without_reference_is_scaled_slic() -> None:
    nothing = PairLogps(torch.zeros(100, dtype=torch.float64), torch.zeros(100, dtype=torch.float64))
    rank = losses.slic(POLICY, nothing.chosen, delta=2.0)
    assert_close(losses.rso_hinge(POLICY, nothing, beta=1 / 2.0), rank / 2.0)


def test_cpl_without_bias_is_simpo_without_margin_on_sums() -> None:
    assert_close(losses.cpl(POLICY, alpha=0.3, bias=1.0), losses.simpo(POLICY, ONE_TOKEN, beta=0.3, gamma=0.0))


def test_cpl_soft_label_swaps_the_roles() -> None:
    swapped = PairLogps(*POLICY[::-1])
    assert_close(losses.cpl(POLICY, preference=0.0), losses.cpl(swapped))
    assert_close(losses.cpl(POLICY, preference=0.3), losses.cpl(swapped, preference=0.7))


def test_orpo_without_odds_is_fine_tuning() -> None:
    tokens = lengths()
    assert_close(losses.orpo(POLICY, tokens, lam=0.0), losses.sequence_nll(POLICY.chosen, tokens.chosen))


def test_hard_labels_are_plain_bradley_terry() -> None:
    chosen, rejected = POLICY
    assert_close(losses.bradley_terry(chosen, rejected, preference=1.0), losses.bradley_terry(chosen, rejected))
    assert_close(losses.bradley_terry(chosen, rejected, preference=0.0), losses.bradley_terry(rejected, chosen))


def test_an_even_label_asks_for_equal_rewards() -> None:
    rewards = with_grad(PairLogps(POLICY.chosen, POLICY.chosen))
    chosen, _ = pair_gradients(losses.bradley_terry(*rewards, preference=0.5), rewards)
    assert_close(chosen, torch.zeros(100, dtype=torch.float64))
    assert (losses.bradley_terry(*POLICY, preference=0.5) >= math.log(2)).all()


def test_lists_of_two_are_pairs() -> None:
    two = lists_of_two()
    means = columns(two)
    assert_close(losses.k_way(*two), losses.bradley_terry(*means))
    assert_close(losses.rrhf_rank(*two), losses.slic(means, torch.zeros(100), delta=0.0))
    assert_close(losses.pro_rank(*two), losses.simpo(means, ONE_TOKEN, beta=1.0, gamma=0.0))
    reference = normal(200, seed=5)
    ratios = PairLogps(reference[0::2], reference[1::2])
    assert_close(losses.pl_dpo(two.means, reference, *two[1:]), losses.dpo(means, ratios))


def test_pro_of_two_scales_by_the_score_gap() -> None:
    gap = normal(100, seed=3).abs() + 0.1
    two = lists_of_two(gap=gap)
    means = columns(two)
    assert_close(losses.pro_rank(*two), losses.bradley_terry(gap * means.chosen, gap * means.rejected))


def test_weights_that_leave_fine_tuning() -> None:
    nll = normal(100, seed=4).abs()
    safe = torch.arange(100) % 2 == 0
    assert_close(losses.reward_weighted(nll, torch.ones(100, dtype=torch.float64)), nll)
    assert_close(losses.safe_align(nll, safe, red_weight=0.0), torch.where(safe, nll, 0))


def test_harmful_responses_stop_mattering_once_unlikely() -> None:
    nll = torch.tensor([1.4, 1.6], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.safe_align(nll, torch.tensor([False, False])).sum(), nll)
    assert gradient.tolist() == [-0.1, 0.0]


def test_kto_is_half_its_weight_at_the_reference_point() -> None:
    desirable = torch.arange(100) % 2 == 0
    kl = POLICY.chosen - REFERENCE.chosen
    loss = losses.kto(*(POLICY.chosen, REFERENCE.chosen), desirable, kl, desirable_weight=2.0)
    assert_close(loss, torch.where(desirable, 1.0, 0.5).double())


def test_constants_take_no_gradient() -> None:
    ones = torch.ones(3, dtype=torch.float64, requires_grad=True)
    fixed = torch.ones(3, dtype=torch.float64)
    assert not losses.kto(fixed, fixed, fixed > 0, ones.mean()).requires_grad
    assert not losses.reward_weighted(fixed, ones).requires_grad


def test_token_loss_of_micro_batches_adds_up() -> None:
    logprobs, weights = -normal(100, seed=6).abs(), (torch.arange(100) % 3 > 0).double()
    parts = [losses.token_nll(logprobs[s], weights[s]).sum() / weights.sum() for s in (slice(0, 7), slice(7, 100))]
    assert_close(sum(parts), losses.token_nll(logprobs, weights).sum() / weights.sum())


def test_mean_of_logs_is_not_log_of_mean() -> None:
    # likelihoods 0.9 and 0.1: ours (-log 0.9 - log 0.1)/2 = 1.203973; the survey's printed Eq. 4 would be -log 0.5 = 0.693147
    logprobs = torch.tensor([0.9, 0.1], dtype=torch.float64).log()
    assert losses.token_nll(logprobs, torch.ones(2)).mean().item() == pytest.approx(1.203973, abs=1e-6)
    assert -logprobs.exp().mean().log().item() == pytest.approx(0.693147, abs=1e-6)
