"""List losses against plain loops over the paper's sums, on ragged lists with ties."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.losses.draws import Lists, lists, lists_of_two
from trimtab.training import losses
from trimtab.training.losses.groups import best_rows, group_logsumexp, group_mean, ordered_pairs

Loop = Callable[[list[float], list[float]], float]
LISTS = lists()


def below(scores: list[float], k: int) -> list[int]:
    return [i for i, score in enumerate(scores) if score < scores[k]]


def k_way(means: list[float], scores: list[float]) -> float:
    terms = [math.log1p(math.exp(means[i] - means[k])) for k in range(len(means)) for i in below(scores, k)]
    return sum(terms) / len(terms) if terms else 0.0


def rrhf_rank(means: list[float], scores: list[float]) -> float:
    return sum(max(0.0, means[i] - means[k]) for k in range(len(means)) for i in below(scores, k))


def rrhf(means: list[float], scores: list[float]) -> float:
    return rrhf_rank(means, scores) - means[scores.index(max(scores))]


def plackett_luce(means: list[float], scores: list[float]) -> float:
    rivals = [sum(math.exp(means[i]) for i in below(scores, k)) for k in range(len(means))]
    return -sum(math.log(math.exp(m) / (math.exp(m) + rival)) for m, rival in zip(means, rivals, strict=True))


def pro_rank(means: list[float], scores: list[float]) -> float:
    total = 0.0
    for k in range(len(means)):
        gaps = {i: scores[k] - scores[i] for i in below(scores, k)}
        if gaps:
            own = math.exp(means[k] * max(gaps.values()))
            total -= math.log(own / (own + sum(math.exp(means[i] * gap) for i, gap in gaps.items())))
    return total


def pro(means: list[float], scores: list[float]) -> float:
    return pro_rank(means, scores) - 0.05 * (len(means) - 1) ** 2 * means[scores.index(max(scores))]


def violations(means: list[float], scores: list[float]) -> list[float]:
    best = scores.index(max(scores))
    return [-means[best] + means[i] + (scores[best] - scores[i]) / 7 for i in below(scores, best)]


def stable_alignment(means: list[float], scores: list[float]) -> float:
    found = violations(means, scores)
    return -means[scores.index(max(scores))] + 0.2 * sum(max(0.0, v) for v in found) / max(1, len(found))


def stable_alignment_on_mean(means: list[float], scores: list[float]) -> float:
    found = violations(means, scores)
    return -means[scores.index(max(scores))] + 0.2 * max(0.0, sum(found) / max(1, len(found)))


def stable_alignment_max(means: list[float], scores: list[float]) -> float:
    return -means[scores.index(max(scores))] + 0.2 * max(0.0, *violations(means, scores), 0.0)


def negated(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda means, *rest: loss(-means, *rest)


LIST_LOSSES: list[tuple[Callable[..., Tensor], Loop]] = [
    (losses.k_way, k_way),
    (losses.rrhf_rank, rrhf_rank),
    (losses.rrhf, rrhf),
    (losses.plackett_luce, plackett_luce),
    (losses.pro_rank, pro_rank),
    (losses.pro, pro),
    (negated(losses.stable_alignment), stable_alignment),
    (negated(losses.stable_alignment_on_mean), stable_alignment_on_mean),
    (negated(losses.stable_alignment_max), stable_alignment_max),
]
each_list_loss = pytest.mark.parametrize(("loss", "loop"), LIST_LOSSES, ids=[loop.__name__ for _, loop in LIST_LOSSES])


def by_loop(loop: Loop, data: Lists) -> Tensor:
    rows = [(data.group == g).nonzero().squeeze(1) for g in range(data.groups)]
    return torch.tensor([loop(data.means[r].tolist(), data.scores[r].tolist()) for r in rows], dtype=torch.float64)


@each_list_loss
def test_equals_a_loop_over_the_sums(loss: Callable[..., Tensor], loop: Loop) -> None:
    assert_close(loss(*LISTS), by_loop(loop, LISTS))


@each_list_loss
def test_the_order_of_rows_does_not_matter(loss: Callable[..., Tensor], loop: Loop) -> None:
    data = lists(levels=0)
    backwards = Lists(data.means.flip(0), data.scores.flip(0), data.groups - 1 - data.group.flip(0), data.groups)
    assert_close(loss(*backwards).flip(0), loss(*data))


@each_list_loss
def test_a_list_does_not_see_the_others(loss: Callable[..., Tensor], loop: Loop) -> None:
    rows = LISTS.group == 7
    alone = Lists(LISTS.means[rows], LISTS.scores[rows], torch.zeros_like(LISTS.group[rows]), 1)
    assert_close(loss(*alone), loss(*LISTS)[7:8])


@pytest.mark.parametrize("loss", [losses.k_way, losses.rrhf_rank, losses.plackett_luce, losses.pro_rank])
def test_ties_teach_nothing(loss: Callable[..., Tensor]) -> None:
    means = LISTS.means.clone().requires_grad_()
    value = loss(means, torch.zeros_like(LISTS.scores), LISTS.group, LISTS.groups)
    (gradient,) = torch.autograd.grad(value.sum(), means)
    assert not value.any()
    assert not gradient.any()


@pytest.mark.parametrize("loss", [losses.k_way, losses.rrhf_rank, losses.plackett_luce])
def test_a_shift_of_a_list_changes_nothing_and_gradients_sum_to_zero(loss: Callable[..., Tensor]) -> None:
    means = LISTS.means.clone().requires_grad_()
    value = loss(means, *LISTS[1:])
    (gradient,) = torch.autograd.grad(value.sum(), means)
    assert_close(group_mean(gradient, LISTS.group, LISTS.groups), torch.zeros(100, dtype=torch.float64))
    assert_close(loss(LISTS.means + LISTS.group, *LISTS[1:]), value)


def test_pro_of_three_is_not_shift_invariant_but_of_two_is() -> None:
    two = lists_of_two()
    assert_close(losses.pro_rank(two.means + 1, *two[1:]), losses.pro_rank(*two))
    three = (torch.tensor([3, 2, 1]), torch.tensor([0, 0, 0]), 1)
    means = torch.tensor([-1.0, -0.5, -2.0], dtype=torch.float64)
    # shifted by 1 the first stage is -log(e^0 / (e^0 + e^0.5 + e^-2)) = log 2.784057 = 1.023909, before 1.725802
    change = losses.pro_rank(means + 1, *three) - losses.pro_rank(means, *three)
    assert change.item() == pytest.approx(1.023909 - 1.725802, abs=1e-6)


def test_k_way_without_ties_is_the_mean_over_all_pairs() -> None:
    # rewards 1, 2, 3, 4 scored in the same order: gaps 1, 1, 1, 2, 2, 3 over C(4, 2) = 6 pairs
    rewards = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    gaps = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 3.0], dtype=torch.float64)
    expected = losses.bradley_terry(gaps, torch.zeros(6)).mean()
    assert_close(losses.k_way(rewards, rewards, torch.zeros(4, dtype=torch.int64), 1)[0], expected)


def test_stable_alignment_without_contrast_imitates_the_best() -> None:
    best = best_rows(*LISTS[1:])
    assert_close(losses.stable_alignment(-LISTS.means, *LISTS[1:], ratio=0.0), -LISTS.means[best])


def test_choice_without_a_winner_is_zero_and_shares_among_several() -> None:
    logits = torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    winner = torch.tensor([False, False, True, True, False])
    loss = losses.choice(logits, winner, torch.tensor([0, 0, 1, 1, 1]), 2)
    assert_close(loss, torch.tensor([0.0, math.log(3)], dtype=torch.float64))


def test_ordered_pairs_of_two_lists() -> None:
    pairs = ordered_pairs(torch.tensor([1, 3, 3, 5, 0]), torch.tensor([0, 0, 0, 1, 1]))
    assert sorted(zip(*(x.tolist() for x in pairs), strict=True)) == [(1, 0, 0), (2, 0, 0), (3, 4, 1)]


def test_best_row_is_the_first_of_equals() -> None:
    assert best_rows(torch.tensor([1, 3, 3, 5, 0]), torch.tensor([0, 0, 0, 1, 1]), 2).tolist() == [1, 3]


def test_group_logsumexp_of_large_values() -> None:
    values, group = torch.tensor([1000.0, 1000.0, -1000.0]), torch.tensor([0, 0, 1])
    assert_close(group_logsumexp(values, group, 2), torch.tensor([1000 + math.log(2), -1000.0]))
