"""The cut distributions against a brute-force sort, and the inversion against counting."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.server.engines.transformers.truncation import SORTED_HEAD, draw, draw_truncated

Column = torch.Tensor


def kept_by_hand(scores: list[float], top_k: int, top_p: float, min_p: float) -> list[int]:
    """Ids that all three cuts leave, the best first."""
    probabilities = torch.tensor(scores, dtype=torch.float64).softmax(-1).tolist()
    order = sorted(range(len(scores)), key=lambda i: -probabilities[i])
    order = [i for i in order if probabilities[i] >= min_p * probabilities[order[0]]][:top_k]
    total, share, kept = sum(probabilities[i] for i in order), 0.0, []
    for i in order:
        if share >= top_p * total:
            break
        kept.append(i)
        share += probabilities[i]
    return kept


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.integers(-60, 60), min_size=2, max_size=40, unique=True),
    top_k=st.integers(1, 45),
    top_p=st.floats(0.05, 1.0),
    min_p=st.floats(0.0, 0.9),
)
def test_only_what_the_cuts_leave_is_drawn_and_all_of_it(scores: list[int], top_k: int, top_p: float, min_p: float) -> None:
    values = [score / 13 for score in scores]
    kept = kept_by_hand(values, top_k, top_p, min_p)
    share = torch.tensor(values, dtype=torch.float64).softmax(-1)[kept]
    edges = (share.cumsum(-1) - share / 2) / share.sum()
    rows = torch.tensor([values] * len(kept))
    drawn = draw_truncated(
        rows,
        edges.unsqueeze(1),
        top_k=torch.full((len(kept), 1), float(top_k)),
        top_p=torch.full((len(kept), 1), top_p),
        min_p=torch.full((len(kept), 1), min_p),
    )
    near_the_edge = kept_by_hand(values, top_k, top_p * 1.000001, min_p * 0.999999) != kept_by_hand(
        values, top_k, top_p * 0.999999, min_p * 1.000001
    )
    assert near_the_edge or drawn.tolist() == kept


def test_a_flat_distribution_needs_more_than_the_sorted_head() -> None:
    size = 4 * SORTED_HEAD
    scores = torch.linspace(0, 1e-3, size).repeat(2, 1)
    ones = torch.ones(2, 1)
    uniform = torch.tensor([[0.0], [0.999999]], dtype=torch.float64)
    drawn = draw_truncated(scores, uniform, top_k=ones * size, top_p=ones * 0.5, min_p=ones * 0)
    assert drawn[0] == size - 1
    assert abs(int(drawn[1]) - size // 2) <= 2


def test_rows_with_different_cuts_do_not_mix() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 3)
    last = torch.full((3, 1), 1 - 1e-12, dtype=torch.float64)
    drawn = draw_truncated(
        scores,
        last,
        top_k=torch.tensor([[2.0], [4.0], [4.0]]),
        top_p=torch.tensor([[1.0], [1.0], [0.1]]),
        min_p=torch.zeros(3, 1),
    )
    assert drawn.tolist() == [1, 3, 0]


def test_whole_draws_never_take_an_impossible_id() -> None:
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]] * 3)
    uniform = torch.tensor([[0.0], [0.5], [1 - 1e-12]], dtype=torch.float64)
    assert draw(scores, uniform).tolist() == [1, 3, 3]
