"""The order of examples, and how processes share it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.training.data.examples import Branch, Example
from trimtab.training.order import Shares, Stretch, at, ordered

EXAMPLES = tuple(Example((n,), (Branch((n,)),), line=n) for n in range(1, 8))
OTHERS = tuple(Example((n,), (Branch((n,)),), line=n) for n in range(101, 104))


def lines(*stretches: Stretch, seed: int = 0, total: int | None = None, shuffled: bool = True) -> list[int]:
    return [example.line for example in ordered(stretches, seed=seed, total=total, shuffled=shuffled)]


def test_each_pass_holds_every_example_once_and_is_shuffled_anew() -> None:
    found = lines(Stretch(EXAMPLES, 2.0))
    assert sorted(found[:7]) == sorted(found[7:]) == list(range(1, 8))
    assert found[:7] != found[7:]
    assert lines(Stretch(EXAMPLES, 2.0), seed=1) != found


def test_given_order() -> None:
    assert lines(Stretch(EXAMPLES, 1.5), shuffled=False) == [*range(1, 8), 1, 2, 3, 4]


def test_phases_follow_each_other() -> None:
    found = lines(Stretch(OTHERS, 1.0), Stretch(EXAMPLES, 1.0))
    assert min(found[:3]) > 100
    assert max(found[3:]) < 100


def test_a_total_keeps_each_phase_its_share() -> None:
    """3 and 7 examples make 10; of 20 the first phase gets 6."""
    found = lines(Stretch(OTHERS, 1.0), Stretch(EXAMPLES, 1.0), total=20)
    assert Counter(line > 100 for line in found) == {True: 6, False: 14}
    assert len(lines(Stretch(EXAMPLES, 1.0), total=3)) == 3


@given(length=st.integers(1, 60), batch=st.integers(1, 5), accumulation=st.integers(1, 4), processes=st.integers(1, 4))
def test_processes_and_accumulation_cut_the_same_steps(length: int, batch: int, accumulation: int, processes: int) -> None:
    """Step s holds places s x size to (s + 1) x size, each once, and all processes make as many micro-batches."""
    shares = [list(Shares(length, batch, accumulation, process=p, processes=processes)) for p in range(processes)]
    assert len({len(share) for share in shares}) == 1
    assert len(shares[0]) == len(Shares(length, batch, accumulation, processes=processes))
    size = batch * accumulation * processes
    for step in range(0, len(shares[0]), accumulation):
        held = [place for share in shares for part in share[step : step + accumulation] for place in part if place >= 0]
        begin = step // accumulation * size
        assert sorted(held) == list(range(begin, min(begin + size, length)))


def test_a_process_without_an_example_gets_one_that_weighs_nothing() -> None:
    (part,) = Shares(1, 1, 1, process=1, processes=2)
    assert at(EXAMPLES[:1], part[0]).weight == 0.0
    assert at(EXAMPLES, 2) is EXAMPLES[2]


def test_fewer_than_a_pass() -> None:
    assert len(lines(Stretch(EXAMPLES, 0.5))) == pytest.approx(4)
