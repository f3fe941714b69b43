"""Tabular policies over 8 outputs, trained with exact expectations: each loss must reach the optimum its paper states."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.losses.draws import generator
from trimtab.training import losses
from trimtab.training.losses import PairLogps

OUTPUTS = 8
REWARD = torch.linspace(-1, 1, OUTPUTS, dtype=torch.float64).roll(3)
REFERENCE = (0.7 * torch.randn(OUTPUTS, generator=generator(0), dtype=torch.float64)).log_softmax(0)
BETA = 0.5
OPTIMUM = (REFERENCE + REWARD / BETA).softmax(0)
"""Of E[R] - beta KL(pi || reference)."""
FIRST, SECOND = torch.combinations(torch.arange(OUTPUTS)).T
WINS = torch.sigmoid(REWARD[FIRST] - REWARD[SECOND])
"""Bradley-Terry probability that the first of each pair is preferred."""


def trained(objective: Callable[[Tensor], Tensor], start: Tensor = REFERENCE, steps: int = 500) -> Tensor:
    """Probabilities after Adam on logits, the learning rate falling to zero."""
    logits = start.clone().requires_grad_()
    adam = torch.optim.Adam([logits], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad()
        objective(logits.log_softmax(0)).backward()
        adam.step()
        schedule.step()
    return logits.detach().softmax(0)


def pair_of(logps: Tensor) -> PairLogps:
    return PairLogps(logps[FIRST], logps[SECOND])


def both_orders(loss: Callable[[PairLogps, PairLogps], Tensor], wins: Tensor, logps: Tensor) -> Tensor:
    policy, reference = pair_of(logps), pair_of(REFERENCE)
    return (wins * loss(policy, reference) + (1 - wins) * loss(PairLogps(*policy[::-1]), PairLogps(*reference[::-1]))).sum()


def test_rlhf_tilts_the_reference_by_the_reward() -> None:
    found = trained(lambda logps: BETA * losses.reverse_kl(logps, REFERENCE) - logps.exp() @ REWARD)
    assert_close(found, OPTIMUM, rtol=0, atol=1e-4)


def test_rlhf_with_two_arms_by_hand() -> None:
    # rewards 1 and 0, lambda 0.5, uniform reference: sigmoid(1/0.5) = 0.880797
    reference, reward = torch.tensor([0.5, 0.5]).double().log(), torch.tensor([1.0, 0.0]).double()
    found = trained(lambda logps: 0.5 * losses.reverse_kl(logps, reference) - logps.exp() @ reward, start=reference)
    assert found[0].item() == pytest.approx(0.880797, abs=1e-4)


def test_ppo_with_the_kl_in_the_reward_reaches_the_rlhf_optimum() -> None:
    def objective(logps: Tensor) -> Tensor:
        fixed = logps.detach()
        reward = REWARD - BETA * losses.k1(fixed - REFERENCE)
        advantage = reward - fixed.exp() @ reward
        return fixed.exp() @ losses.ppo_policy(logps, fixed, advantage)

    assert_close(trained(objective), OPTIMUM, rtol=0, atol=1e-4)


def test_a_heavy_kl_keeps_the_reference() -> None:
    found = trained(lambda logps: 1e4 * losses.reverse_kl(logps, REFERENCE) - logps.exp() @ REWARD)
    assert_close(found, REFERENCE.exp(), rtol=0, atol=1e-3)


def test_dpo_on_exact_preferences_reaches_the_rlhf_optimum() -> None:
    found = trained(lambda logps: losses.soft_dpo(pair_of(logps), pair_of(REFERENCE), WINS, beta=BETA).sum())
    assert_close(found, OPTIMUM, rtol=0, atol=1e-4)


def test_robust_dpo_on_flipped_preferences_reaches_the_rlhf_optimum() -> None:
    flipped = 0.9 * WINS + 0.1 * (1 - WINS)

    def loss(policy: PairLogps, reference: PairLogps) -> Tensor:
        return losses.robust_dpo(policy, reference, beta=BETA, label_smoothing=0.1)

    assert_close(trained(lambda logps: both_orders(loss, flipped, logps)), OPTIMUM, rtol=0, atol=1e-4)


def test_pl_dpo_on_exact_rankings_reaches_the_rlhf_optimum() -> None:
    # all 24 triples in order of 4 outputs, each weighted with its Plackett-Luce probability under the reward
    reward, reference = REWARD[:4], REFERENCE[:4].log_softmax(0)
    rows = torch.tensor(list(itertools.permutations(range(4), 3)))
    group = torch.arange(24).repeat_interleave(3)
    scores = torch.tensor([3, 2, 1]).repeat(24)
    chance = (-losses.plackett_luce(reward[rows.flatten()], scores, group, 24)).exp()

    def objective(logps: Tensor) -> Tensor:
        return chance @ losses.pl_dpo(logps[rows.flatten()], reference[rows.flatten()], scores, group, 24, beta=BETA)

    assert_close(trained(objective, reference), (reference + reward / BETA).softmax(0), rtol=0, atol=1e-4)


def test_ipo_gap_is_the_excess_probability_over_tau() -> None:
    # preferences 1/2 + u_i - u_j ask for gaps (u_i - u_j)/tau, which one policy can meet on all pairs: reference e^(u/tau)
    tau, utility = 0.25, REWARD / 5
    wins = 0.5 + utility[FIRST] - utility[SECOND]
    found = trained(lambda logps: both_orders(lambda p, r: losses.ipo_sum(p, r, tau=tau), wins, logps))
    assert_close(found, (REFERENCE + utility / tau).softmax(0), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        pytest.param(losses.f_dpo_forward_kl, lambda u: -1 / u, id="forward_kl"),
        pytest.param(losses.f_dpo_jensen_shannon, lambda u: torch.log(2 * u / (1 + u)), id="jensen_shannon"),
    ],
)
def test_f_dpo_recovers_reward_differences_as_beta_f_prime(
    loss: Callable[..., Tensor], slope: Callable[[Tensor], Tensor]
) -> None:
    found = trained(lambda logps: both_orders(lambda p, r: loss(p, r, beta=2.0), WINS, logps), steps=800)
    reward = 2.0 * slope(found / REFERENCE.exp())
    assert_close(reward - reward.mean(), REWARD - REWARD.mean(), rtol=0, atol=1e-3)


def test_f_dpo_optimum_is_that_of_the_regularised_reward() -> None:
    # maximise E[R] - beta D with D twice the Jensen-Shannon divergence, directly, and by preferences
    direct = trained(lambda logps: 2.0 * 2 * losses.jensen_shannon(logps, REFERENCE) - logps.exp() @ REWARD)
    by_pairs = trained(lambda logps: both_orders(lambda p, r: losses.f_dpo_jensen_shannon(p, r, beta=2.0), WINS, logps))
    assert_close(by_pairs, direct, rtol=0, atol=1e-3)


def test_reward_model_differences_are_log_odds() -> None:
    # the reward itself is the table here: logits are rewards up to a constant
    found = trained(lambda logps: losses.bradley_terry(logps[FIRST], logps[SECOND], preference=WINS).sum()).log()
    assert_close(found[FIRST] - found[SECOND], REWARD[FIRST] - REWARD[SECOND], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        # R = (0.8, 0.2), lambda = 1/2, exponents 2/3 and 1/3: 4^(2/3) = 2.519842 to 1; with 9^(1/3) = 2.080084 more: 5.241483
        pytest.param((0.5, 0.5), 2.519842 / 3.519842, id="uniform"),
        pytest.param((0.9, 0.1), 5.241483 / 6.241483, id="skewed"),
    ],
)
def test_log_reward_with_an_entropy_bonus(reference: tuple[float, float], expected: float) -> None:
    prior, reward = torch.tensor(reference).double().log(), torch.tensor([0.8, 0.2]).double().log()
    found = trained(lambda logps: losses.reverse_kl(logps, reward) + 0.5 * losses.reverse_kl(logps, prior), start=prior)
    assert found[0].item() == pytest.approx(expected, abs=1e-4)


DATA = torch.tensor([0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.06, 0.04], dtype=torch.float64)
WORTH = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.8, 1.0, 0.2, 0.6], dtype=torch.float64)
ONE_TOKEN = torch.ones(OUTPUTS)


def test_fine_tuning_reaches_the_data() -> None:
    found = trained(lambda logps: DATA @ losses.sequence_nll(logps, ONE_TOKEN))
    assert_close(found, DATA, rtol=0, atol=1e-4)


def test_reward_weighting_reaches_the_data_times_the_reward() -> None:
    found = trained(lambda logps: DATA @ losses.reward_weighted(losses.sequence_nll(logps, ONE_TOKEN), WORTH))
    assert_close(found, DATA * WORTH / (DATA @ WORTH), rtol=0, atol=1e-4)


def fine_tuned(target: Tensor, start: Tensor) -> Tensor:
    return trained(lambda logps: target @ losses.sequence_nll(logps, ONE_TOKEN), start.log())


def test_fine_tuning_on_rising_thresholds_concentrates() -> None:
    """ReST: the optimum of each step is the data restricted to rewards above the threshold."""
    reached, policy = [DATA @ WORTH], DATA
    for threshold in (0.25, 0.55, 0.85):
        kept = policy * (threshold < WORTH)
        policy = fine_tuned(kept / kept.sum(), policy)
        reached.append(policy @ WORTH)
        assert policy[threshold >= WORTH].sum() < 0.02
    assert reached == sorted(reached)


def test_choice_reaches_the_odds_of_being_chosen() -> None:
    rows, group = torch.arange(OUTPUTS).repeat(OUTPUTS), torch.arange(OUTPUTS).repeat_interleave(OUTPUTS)
    winner = rows == group
    found = trained(lambda logps: DATA @ losses.choice(logps[rows], winner, group, OUTPUTS))
    assert_close(found, DATA, rtol=0, atol=1e-4)


@pytest.mark.parametrize("divergence", [losses.forward_kl, losses.reverse_kl, losses.jensen_shannon])
def test_smooth_divergences_reach_the_target(divergence: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert_close(trained(lambda logps: divergence(logps, DATA.log())), DATA, rtol=0, atol=1e-4)


def test_total_variation_reaches_the_target_as_its_steps_shrink() -> None:
    # its gradient does not vanish near the target, so Adam stops within its last step sizes
    assert_close(trained(lambda logps: losses.total_variation(logps, DATA.log())), DATA, rtol=0, atol=5e-3)


def test_total_variation_has_no_f_dpo_form() -> None:
    # two policies that differ everywhere share all values of f', so pairs cannot tell them apart
    ratio = torch.tensor([1.5, 2.0, 0.5], dtype=torch.float64).log()
    assert torch.equal(
        losses.f_dpg_total_variation(ratio, torch.zeros(3)), losses.f_dpg_total_variation(2 * ratio, torch.zeros(3))
    )
