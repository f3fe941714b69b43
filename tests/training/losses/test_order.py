"""Every preference loss is lower when the preferred response is the likelier one, and no extreme input breaks it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.training.losses.draws import ONE_TOKEN, lengths, pair
from trimtab.training import losses
from trimtab.training.losses import PairLogps

ZERO = PairLogps(torch.zeros(100, dtype=torch.float64), torch.zeros(100, dtype=torch.float64))
LENGTHS = lengths()._replace(rejected=lengths().chosen)
PAIR_LOSSES: dict[str, Callable[[PairLogps], Tensor]] = {
    "dpo": lambda p: losses.dpo(p, ZERO),
    "conservative_dpo": lambda p: losses.conservative_dpo(p, ZERO),
    "robust_dpo": lambda p: losses.robust_dpo(p, ZERO),
    "soft_dpo": lambda p: losses.soft_dpo(p, ZERO, 0.8),
    "length_normalised_dpo": lambda p: losses.length_normalised_dpo(p, ZERO, LENGTHS),
    "f_dpo_forward_kl": lambda p: losses.f_dpo_forward_kl(p, ZERO),
    "f_dpo_jensen_shannon": lambda p: losses.f_dpo_jensen_shannon(p, ZERO),
    "ipo_sum": lambda p: losses.ipo_sum(p, ZERO, tau=0.001),
    "ipo_mean": lambda p: losses.ipo_mean(p, ZERO, LENGTHS, tau=0.001),
    "rso_hinge": lambda p: losses.rso_hinge(p, ZERO),
    "slic": lambda p: losses.slic(p, p.chosen),
    "odds_ratio": losses.odds_ratio,
    "orpo": lambda p: losses.orpo(p, LENGTHS),
    "simpo": lambda p: losses.simpo(p, LENGTHS),
    "cpl": losses.cpl,
    "cpl_with_reference": lambda p: losses.cpl_with_reference(p, ZERO),
    "bradley_terry": lambda p: losses.bradley_terry(*p),
    "value_hinge": lambda p: losses.value_hinge(p.rejected, p.chosen),
}
each_pair_loss = pytest.mark.parametrize("loss", PAIR_LOSSES.values(), ids=PAIR_LOSSES.keys())


def in_order() -> PairLogps:
    drawn = pair(seed=3)
    return PairLogps(torch.maximum(*drawn) / 20, torch.minimum(*drawn) / 20)


@each_pair_loss
def test_swapping_the_pair_raises_the_loss(loss: Callable[[PairLogps], Tensor]) -> None:
    right = in_order()
    assert (loss(PairLogps(*right[::-1])) > loss(right)).all()


@each_pair_loss
def test_a_pair_does_not_see_the_others(loss: Callable[[PairLogps], Tensor]) -> None:
    right = in_order()
    others_changed = PairLogps(*(torch.cat([x[:1], 2 * x[1:]]) for x in right))
    assert loss(right).shape == (100,)
    assert loss(others_changed)[0] == loss(right)[0]


@each_pair_loss
@pytest.mark.parametrize(("chosen", "rejected"), [(-1e4, -1.0), (-1.0, -1e4), (0.0, -1e4), (-1e4, 0.0)])
def test_extremes_stay_finite_in_float32(loss: Callable[[PairLogps], Tensor], chosen: float, rejected: float) -> None:
    policy = PairLogps(torch.full((100,), chosen, requires_grad=True), torch.full((100,), rejected, requires_grad=True))
    value = loss(policy)
    gradients = torch.autograd.grad(value.sum(), [*policy])
    assert all(x.isfinite().all() for x in (value, *gradients))


def test_undesirable_responses_should_lose_and_desirable_ones_win() -> None:
    better, worse = in_order()
    kl, good = torch.zeros(()), torch.ones(100, dtype=torch.bool)
    assert (losses.kto(better, ZERO.chosen, good, kl) < losses.kto(worse, ZERO.chosen, good, kl)).all()
    assert (losses.kto(better, ZERO.chosen, ~good, kl) > losses.kto(worse, ZERO.chosen, ~good, kl)).all()


@pytest.mark.parametrize("loss", [losses.plackett_luce, losses.pro_rank, losses.pro, losses.rrhf, losses.k_way])
def test_reversed_scores_raise_a_list_loss_that_is_in_order(loss: Callable[..., Tensor]) -> None:
    means = torch.tensor([-0.2, -0.6, -1.5], dtype=torch.float64)
    scores, group = torch.tensor([3, 2, 1]), torch.zeros(3, dtype=torch.int64)
    assert loss(means, scores.flip(0), group, 1) > loss(means, scores, group, 1)


def test_list_losses_of_extremes_stay_finite_in_float32() -> None:
    means = torch.tensor([-1e4, 0.0, -1e4, -1.0], requires_grad=True)
    scores, group = torch.tensor([3.0, 2.0, -900.0, 1.0]), torch.zeros(4, dtype=torch.int64)
    for loss in (losses.plackett_luce, losses.pro_rank, losses.rrhf, losses.k_way):
        value = loss(means, scores, group, 1)
        (gradient,) = torch.autograd.grad(value.sum(), means)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


def test_the_margin_is_asked_of_the_preferred_side() -> None:
    chosen, rejected = in_order()
    raised = losses.bradley_terry(chosen, rejected, margin=1.0, preference=0.0)
    assert (raised > losses.bradley_terry(chosen, rejected, preference=0.0)).all()
    assert (losses.simpo(in_order(), ONE_TOKEN, gamma=1.0) > losses.simpo(in_order(), ONE_TOKEN, gamma=0.0)).all()
