"""What a log says in numbers."""

import pytest

from tests.server.evaluation.logs import HARM, JUDGE, LENGTH, REWARD, log_of
from trimtab.server.evaluation.records import Cost, ScorerRecord
from trimtab.server.evaluation.summary import summarise

RISING = [float(place) for place in range(10)]


def test_means_differences_and_their_counts() -> None:
    # norms is 1 above plain on 9 samples and 2 above on the last: (9 * 1 + 2) / 10 = 1.1 over 10 pairs; plain's mean is 4.5.
    better = [*(value + 1 for value in RISING[:9]), 11.0]
    summary = summarise(log_of({("reward", "plain"): RISING, ("reward", "norms"): better}))
    plain, norms = summary.measure("reward", "plain"), summary.measure("reward", "norms")
    assert plain.mean is not None
    assert plain.mean.estimate == pytest.approx(4.5)
    assert plain.change is None
    assert norms.change is not None
    assert norms.change.estimate == pytest.approx(1.1)
    assert norms.change.n == 10
    # All ten differences have one sign, so of 2^10 ways to flip signs two are as far from zero: p = 2 / 1024.
    assert norms.change.p == pytest.approx(2 / 1024)
    assert norms.change.verdict == "better"


def test_a_against_a_shows_no_difference() -> None:
    summary = summarise(log_of({("reward", "plain"): RISING, ("reward", "again"): RISING}, alignments=("plain", "again")))
    change = summary.measure("reward", "again").change
    assert change is not None
    assert (change.estimate, change.low, change.high, change.p, change.verdict) == (0, 0, 0, 1, "none")


def test_what_is_not_scored_is_counted_and_never_a_zero() -> None:
    log = log_of(
        {("reward", "plain"): [1.0, 1.0, 1.0, 1.0], ("reward", "norms"): [None, 3.0, 3.0, float("nan")]},
        answers={("norms", 2): {"answer": None, "error": "too late"}, ("norms", 1): {"finish_reason": "length"}},
    )
    scores = {key: one for key, one in log.scores.items() if key != ("reward", "norms", "s2")}
    summary = summarise(type(log)(log.header, log.samples, log.generations, scores, log.scorers))
    counts, mean = summary.measure("reward", "norms").counts, summary.measure("reward", "norms").mean
    assert (counts.scored, counts.unscored, counts.errored, counts.missing, counts.truncated) == (1, 2, 1, 0, 1)
    assert counts.reasons == {"no verdict": 1, "no reason given": 1}
    assert mean is not None
    assert mean.estimate == 3.0  # with zeros for what is missing it would be below
    assert summary.measure("reward", "norms").change is None  # one pair says nothing


def test_a_run_that_was_cut_short_counts_what_is_missing() -> None:
    log = log_of({("reward", "plain"): RISING, ("reward", "norms"): RISING})
    kept = {key: one for key, one in log.scores.items() if key[1:] != ("norms", "s9")}
    summary = summarise(type(log)(log.header, log.samples, log.generations, kept, log.scorers))
    assert summary.measure("reward", "norms").counts.missing == 1


def test_significance_goes_by_the_adjusted_p_alone() -> None:
    # Six differences of one sign: p = 2 / 64 = 0.031, below 0.05. Two such comparisons: Holm doubles the smaller, 0.0625.
    up = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    none = [0.0] * 6
    alone = summarise(log_of({("reward", "plain"): none, ("reward", "norms"): up}))
    assert alone.comparisons == 1
    assert alone.measures[1].change is not None
    assert alone.measures[1].change.verdict == "better"
    both = summarise(
        log_of({("reward", "plain"): none, ("reward", "a"): up, ("reward", "b"): up}, alignments=("plain", "a", "b"))
    )
    change = both.measure("reward", "a").change
    assert both.comparisons == 2
    assert change is not None
    assert change.p == pytest.approx(2 / 64)
    assert change.adjusted_p == pytest.approx(4 / 64)
    assert change.verdict == "none"


@pytest.mark.parametrize(("scorer", "verdict"), [(REWARD, "better"), (HARM, "worse"), (LENGTH, "differs")])
def test_which_side_is_better_is_the_scorers_word(scorer: ScorerRecord, verdict: str) -> None:
    name = scorer.name
    log = log_of({(name, "plain"): [0.0] * 10, (name, "norms"): [1.0] * 10}, scorers=(scorer,))
    change = summarise(log).measure(name, "norms").change
    assert change is not None
    assert change.verdict == verdict


def test_a_judge_gives_wins_ties_and_a_rate_held_against_one_half() -> None:
    # 15 won, 5 tied, 4 lost of 24: (15 + 2.5) / 24 = 0.729, which is 0.229 above one half.
    verdicts = [1.0] * 15 + [0.5] * 5 + [0.0] * 4
    judged = summarise(log_of({("judge", "norms"): verdicts}, scorers=(JUDGE,))).measure("judge", "norms")
    assert judged.wins is not None
    assert (judged.wins.won, judged.wins.tied, judged.wins.lost) == (15, 5, 4)
    assert judged.mean is not None
    assert judged.mean.estimate == pytest.approx(17.5 / 24)
    assert judged.change is not None
    assert judged.change.estimate == pytest.approx(17.5 / 24 - 0.5)
    assert judged.wins.length_controlled is not None
    assert judged.wins.length_controlled.rate == pytest.approx(17.5 / 24, abs=0.01)  # all answers differ by as much in length


def test_a_judge_does_not_compare_the_first_alignment_with_itself() -> None:
    log = log_of({("judge", "plain"): [0.5] * 4, ("judge", "norms"): [1.0] * 4}, scorers=(JUDGE,))
    summary = summarise(log)
    assert summary.measure("judge", "plain").mean is None
    assert summary.comparisons == 1


def test_a_rate_of_all_ones_keeps_its_width() -> None:
    # Wilson, 10 of 10 at 95 %: the lower end is 10 / (10 + 1.96^2) = 0.7225.
    mean = summarise(log_of({("reward", "plain"): [1.0] * 10})).measure("reward", "plain").mean
    assert mean is not None
    assert mean.low == pytest.approx(0.7225, abs=1e-4)


def test_a_win_rate_and_its_distance_from_one_half_have_the_same_interval() -> None:
    # Wilson, 4 of 4 at 95 %: from 4 / (4 + 1.96^2) = 0.5101 to 1; all signs alike have p = 2 / 2^4.
    judged = summarise(log_of({("judge", "norms"): [1.0] * 4}, scorers=(JUDGE,))).measure("judge", "norms")
    assert judged.change is not None
    assert (judged.change.low, judged.change.high) == (pytest.approx(0.0101, abs=1e-4), 0.5)
    assert judged.change.p == pytest.approx(0.125)


def test_costs_stand_beside_the_first_alignments_over_the_samples_both_answered() -> None:
    cheap = Cost(calls=1, prompt_tokens=10, completion_tokens=10, ms=100.0)
    dear = Cost(calls=4, prompt_tokens=60, completion_tokens=40, ms=250.0, by_role={"judge": {"calls": 3, "prompt_tokens": 30}})
    log = log_of(
        {("reward", "plain"): [0.0] * 3},
        costs={"plain": cheap, "norms": dear},
        answers={("plain", 0): {"answer": None, "error": "gone", "cost": Cost()}},
    )
    plain, norms = summarise(log).costs
    assert (plain.answers, norms.answers, norms.ratios.n) == (2, 3, 2)
    assert (norms.ratios.calls, norms.ratios.tokens, norms.ratios.completion_tokens) == (4.0, 5.0, 4.0)
    assert norms.p50_ms is not None
    assert norms.p95_ms is not None
    assert (norms.p50_ms.estimate, norms.p95_ms.estimate, norms.ratios.p50_ms) == (250.0, 250.0, 2.5)
    assert (norms.by_role["judge"].calls, norms.by_role["judge"].prompt_tokens) == (9, 90)
    assert (plain.ratios.calls, plain.ratios.tokens) == (1.0, 1.0)


def test_categories_where_samples_have_them() -> None:
    log = log_of({("reward", "plain"): [1.0, 3.0, 10.0, 7.0]}, categories=["garden", "garden", "travel", None])
    summary = summarise(log)
    assert summary.categories == ("garden", "travel")
    means = {one.category: (one.mean.estimate, one.mean.n) for one in summary.by_category}
    assert means == {"garden": (2.0, 2), "travel": (10.0, 1)}


def test_what_a_scorer_says_of_itself_is_carried_along() -> None:
    judge = JUDGE.model_copy(update={"summary": {"norms": {"position_bias": 0.25, "odd": float("inf")}}})
    measured = summarise(log_of({("judge", "norms"): [1.0, 0.0]}, scorers=(judge,))).measure("judge", "norms")
    assert measured.numbers == {"position_bias": 0.25}


def test_a_log_without_scores_still_has_its_costs() -> None:
    log = log_of({("reward", "plain"): [1.0, 2.0]}, scorers=())
    summary = summarise(log)
    assert (summary.measures, summary.comparisons) == ((), 0)
    assert [one.answers for one in summary.costs] == [2, 2]


def test_the_same_seed_gives_the_same_numbers() -> None:
    log = log_of({("reward", "plain"): RISING, ("reward", "norms"): list(reversed(RISING))})
    assert summarise(log, seed=3) == summarise(log, seed=3)
