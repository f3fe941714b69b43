import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.training.errors import DataError
from trimtab.training.reports.hacking import (
    Course,
    entropy_collapse,
    eos_collapse,
    kl_beyond_cap,
    kl_without_reward,
    length_drift,
    signs,
)


def line(start: float, end: float, *, noise: float = 0.0, n: int = 60, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [start + (end - start) * place / (n - 1) + rng.gauss(0, noise) for place in range(n)]


def healthy(seed: int = 0, n: int = 60) -> Course:
    """Reward rises, KL with it and below 10, answers grow by a tenth, nearly all end, entropy falls by a quarter."""
    return Course(
        reward=line(0.0, 1.0, noise=0.15, n=n, seed=seed),
        kl=line(0.2, 6.0, noise=0.4, n=n, seed=seed + 1),
        length=line(60, 66, noise=4, n=n, seed=seed + 2),
        eos_rate=line(0.95, 0.9, noise=0.02, n=n, seed=seed + 3),
        entropy=line(2.0, 1.5, noise=0.05, n=n, seed=seed + 4),
    )


@given(st.integers(0, 10_000))
def test_a_healthy_run_is_quiet(seed: int) -> None:
    assert signs(healthy(seed), kl_cap=10.0) == ()


@given(st.integers(0, 10_000))
def test_a_run_that_converged_is_quiet(seed: int) -> None:
    flat = Course(reward=line(1, 1, noise=0.1, seed=seed), kl=line(5, 5, noise=0.4, seed=seed + 1), length=line(70, 70))
    assert signs(flat) == ()


def test_a_run_too_short_or_unknown_is_quiet() -> None:
    short = Course(reward=line(0, 9, n=19), length=line(10, 99, n=19), kl=line(0, 9, n=19), eos_rate=[1.0, 0.0])
    assert signs(short) == signs(Course()) == signs(Course(reward=line(0, 1))) == ()


@pytest.mark.parametrize(("end", "words"), [(120, "from 66 to 114"), (24, "from 57 to 27")])
def test_reward_that_goes_with_length(end: float, words: str) -> None:
    """Early and late are means over 12 of 60 points, so their middles lie 5.5 / 59 from the ends.

    60 to 120: 60 + 60 * 0.0932 = 65.6 and 114.4; 60 to 24: 60 - 36 * 0.0932 = 56.6 and 27.4.
    """
    sign = length_drift(line(0, 1, noise=0.1), line(60, end))
    assert sign is not None
    assert sign.kind == "length_drift"
    assert words in sign.message


def test_length_that_does_not_pay_is_no_sign() -> None:
    assert length_drift(line(1, 0, noise=0.1), line(60, 120)) is None
    assert length_drift(line(0, 1, noise=0.1), line(60, 70)) is None
    # longer by half, in a jump at the start of the last fifth, long after reward rose: correlation below 0.5
    late = [60.0] * 48 + [90.0] * 12
    early = [0.0] * 12 + [1.0, 1.1] * 24
    assert length_drift(early, late) is None


def test_divergence_beyond_the_cap() -> None:
    # the last five of 8, 9, 10, 11, 12, 13 have the mean 11
    sign = kl_beyond_cap([8.0, 9.0, 10.0, 11.0, 12.0, 13.0], cap=10.0)
    assert sign is not None
    assert "is 11 nats an answer, above the cap of 10" in sign.message
    assert kl_beyond_cap([8.0, 9.0, 10.0, 11.0, 12.0, 13.0], cap=11.0) is None


def test_divergence_that_buys_nothing() -> None:
    spent = line(0, 1, noise=0.05, n=30) + line(1, 0.9, noise=0.05, n=30)
    sign = kl_without_reward(spent, line(0, 20))
    assert sign is not None
    assert sign.kind == "kl_without_reward"
    assert kl_without_reward(line(0, 1, noise=0.05), line(0, 20)) is None


def test_answers_that_no_longer_end() -> None:
    # 0.9 to 0.1 over 60 points: early 0.9 - 0.8 * 5.5 / 59 = 83 %, late 17 %
    sign = eos_collapse(line(0.9, 0.1))
    assert sign is not None
    assert "from 83% to 17%" in sign.message
    assert eos_collapse(line(0.3, 0.25)) is None


def test_samples_that_become_one() -> None:
    sign = entropy_collapse(line(2.0, 0.05))
    assert sign is not None
    assert sign.kind == "entropy_collapse"
    assert entropy_collapse(line(2.0, 1.0)) is None


def test_all_signs_of_a_run_gone_wrong() -> None:
    gone = Course(line(0, 1, noise=0.01), line(0, 30), line(60, 200), line(1, 0), line(2, 0))
    found = {sign.kind for sign in signs(gone, kl_cap=10)}
    assert found == {"length_drift", "kl_beyond_cap", "eos_collapse", "entropy_collapse"}


def test_series_of_other_steps_are_refused() -> None:
    with pytest.raises(DataError, match="60 and 59"):
        length_drift(line(0, 1), line(60, 90, n=59))
