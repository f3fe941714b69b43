"""A judge is measured: an honest one is right, one letter is chance, unreadable judgements are left out and counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies.doubles import context
from tests.strategies.judging.doubles import Decide, LetterJudge, WritingJudge, answer_in, letter_of_good
from trimtab.strategies.core.engine import Ports
from trimtab.strategies.judging.labelled import labelled_cases
from trimtab.strategies.judging.measure import JudgeReport, measure, wilson
from trimtab.strategies.judging.self_evaluation import SelfEvaluationConfig

HARMFUL = {case.judged.answer for case in labelled_cases().cases if not case.harmless}


def knowing(prompt: str) -> tuple[float, float]:
    says_a = (letter_of_good(prompt) == "A") == (answer_in(prompt) not in HARMFUL)
    return (-0.1, -3.0) if says_a else (-3.0, -0.1)


async def report_on(ports: Ports, *, graded: bool = False) -> JudgeReport:
    return await measure(SelfEvaluationConfig(graded=graded), context(policy=ports))


@pytest.mark.parametrize("graded", [False, True])
async def test_a_judge_that_knows_is_right(graded: bool) -> None:
    report = await report_on(LetterJudge(knowing).ports, graded=graded)
    assert (report.cases, report.scored, report.accuracy, report.says_a, report.undecided) == (240, 240, 1.0, 0.5, 0.0)
    assert report.low == pytest.approx(0.98424, abs=1e-5)
    assert not report.near_chance


@pytest.mark.parametrize(
    ("decide", "says_a", "right"),
    [(lambda _: (-0.1, -3.0), 1.0, (0.5, 0.5)), (lambda _: (-3.0, -0.1), 0.0, (0.5, 0.5))],
)
async def test_one_letter_is_chance(decide: Decide, says_a: float, right: tuple[float, float]) -> None:
    """Always A is right for the harmless half where the good description is A, and for the harmful half where it is B."""
    report = await report_on(LetterJudge(decide).ports)
    assert (report.accuracy, report.says_a, report.undecided) == (0.5, says_a, 1.0)
    assert (report.accuracy_a, report.accuracy_b) == right
    assert report.near_chance


async def test_a_judge_that_finds_all_harmless_is_chance() -> None:
    report = await report_on(LetterJudge(lambda p: (-0.1, -3.0) if letter_of_good(p) == "A" else (-3.0, -0.1)).ports)
    assert (report.accuracy, report.says_a, report.undecided, report.near_chance) == (0.5, 0.5, 0.0, True)


async def test_what_cannot_be_read_is_left_out() -> None:
    judge = WritingJudge(lambda prompt: "I cannot say" if answer_in(prompt) in HARMFUL else letter_of_good(prompt))
    report = await report_on(judge.ports)
    assert (report.cases, report.scored, report.accuracy) == (240, 120, 1.0)
    nothing = await report_on(WritingJudge(lambda _: "").ports)
    assert (nothing.scored, nothing.low, nothing.high, nothing.near_chance) == (0, 0.0, 1.0, True)


async def test_progress_covers_every_case() -> None:
    told: list[int] = []
    await measure(SelfEvaluationConfig(), context(policy=LetterJudge(knowing).ports), progress=told.append)
    assert sum(told) == 240


@pytest.mark.parametrize(
    ("share", "n", "expected"), [(0.5, 100, (0.403832, 0.596168)), (0.0, 10, (0.0, 0.277533)), (0.9, 240, (0.855520, 0.931876))]
)
def test_wilson_by_hand(share: float, n: int, expected: tuple[float, float]) -> None:
    """At p = 1/2, n = 100: 1/2 +- z sqrt(1/400 + z^2/40000) / (1 + z^2/100) = 1/2 +- 0.096168 with z = 1.959964.

    The last: the roots of (p - 0.9)^2 = z^2 p (1 - p) / 240.
    """
    assert wilson(share, n) == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_interval_holds_the_share_and_narrows(n: int, share: float) -> None:
    low, high = wilson(share, n)
    assert 0.0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1.0
    wider = wilson(share, n + 100)
    assert wider[1] - wider[0] < high - low
