"""What ratings say of raters and judges, by hand; judge scores calibrated on few ratings."""

from collections.abc import Mapping, Sequence

import pytest

from tests.server.evaluation.logs import HARM, JUDGE, LENGTH, REWARD, log_of
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.raters.agreement import agreement
from trimtab.server.evaluation.raters.ratings import HumanRating
from trimtab.server.evaluation.raters.telling import told
from trimtab.server.evaluation.records import ScorerRecord

FEARED = HARM.model_copy(update={"name": "feared", "of_preference": True})


def log(scores: Mapping[tuple[str, str], Sequence[float | None]], *scorers: ScorerRecord, same: Sequence[int] = ()) -> Log:
    count = max(map(len, scores.values()))
    answers = {
        (name, place): {"answer": f"{'plain' if place in same else name} {place}"}
        for name in ("plain", "norms")
        for place in range(count)
    }
    return log_of(scores, scorers=scorers, answers=answers)


def ratings(**raters: Sequence[float | None]) -> list[HumanRating]:
    return [
        HumanRating(rater=rater, alignment="norms", sample=f"s{place}", value=value, pair=f"p{place}")
        for rater, values in raters.items()
        for place, value in enumerate(values)
        if value is not None
    ]


ANN, BOB = (1.0, 1.0, 0.0, 0.5), (1.0, 0.0, 0.0, 0.5)


def test_two_raters_by_hand() -> None:
    # observed 3/4; expected 1/2 1/4 + 1/4 1/2 + 1/4 1/4 = 5/16; (3/4 - 5/16) / (1 - 5/16) = 7/11
    found = agreement(log({("judge", "norms"): [1.0] * 4}, JUDGE), ratings(ann=ANN, bob=BOB)).raters
    assert (found.raters, found.n, found.kind, found.rate) == (("ann", "bob"), 4, "cohen", 0.75)
    assert found.kappa == pytest.approx(7 / 11)


def test_three_raters_by_hand() -> None:
    # Two pairs that all rated: 1 1 1 and 1 0 0. Agreeing pairs of raters: 3/3 and 1/3, observed 2/3. Shares of the labels
    # 4/6 and 2/6: expected 16/36 + 4/36 = 5/9. (2/3 - 5/9) / (4/9) = 1/4. The third pair has two ratings: 5 of 7 agree.
    given = ratings(ann=(1.0, 1.0, 0.5), bob=(1.0, 0.0, 0.5), eve=(1.0, 0.0))
    found = agreement(log({("judge", "norms"): [1.0] * 3}, JUDGE), given).raters
    assert (found.kind, found.n) == ("fleiss", 2)
    assert found.kappa == pytest.approx(0.25)
    assert found.rate == pytest.approx(5 / 7)


def test_one_rater_agrees_with_nobody() -> None:
    found = agreement(log({("judge", "norms"): [1.0] * 4}, JUDGE), ratings(ann=ANN)).raters
    assert (found.kappa, found.rate, found.n) == (None, None, 4)


def test_a_judge_beside_people_by_hand() -> None:
    # People: 1, 0.5, 0, 0.5. The judge: 1, 1, 0, 0.5, so that s1 alone differs, and of the two that both decide both agree.
    # Ranks of the judge 3.5, 3.5, 1, 2 and of people 4, 2.5, 1, 2.5: 3.75 / 4.5 = 5/6.
    given = log({("judge", "norms"): [1.0, 1.0, 0.0, 0.5]}, JUDGE)
    (found,) = agreement(given, ratings(ann=ANN, bob=BOB)).scorers
    assert (found.scorer, found.n) == ("judge", 4)
    assert found.verdicts is not None
    assert found.spearman is not None
    assert (found.verdicts.rate, found.verdicts.decided, found.verdicts.n_decided) == (0.75, 1.0, 2)
    assert found.spearman.estimate == pytest.approx(5 / 6)


def test_pointwise_scorers_speak_by_the_difference_and_their_better_side() -> None:
    rows: dict[tuple[str, str], list[float | None]] = {
        ("reward", "plain"): [0.0, 2.0, 1.0, None],
        ("reward", "norms"): [3.0, 1.0, 1.0, 1.0],
        ("feared", "plain"): [0.9, 0.1, 0.5, 0.0],
        ("feared", "norms"): [0.1, 0.9, 0.5, 0.1],
        ("length", "plain"): [1.0] * 4,
        ("length", "norms"): [2.0] * 4,
    }
    given = log(rows, REWARD, FEARED, LENGTH)
    reward, feared = agreement(given, ratings(ann=(1.0, 0.0, 0.5, 1.0))).scorers
    assert reward.verdicts is not None
    assert feared.verdicts is not None
    assert (reward.n, reward.verdicts.rate) == (3, 1.0)
    assert (feared.n, feared.verdicts.rate) == (4, 0.75)


def test_scores_are_calibrated_on_few_ratings() -> None:
    """People would prefer every second answer; the judge also prefers every fourth that they would not.

    So it finds 0.75 where the truth is 0.5. Of 400 pairs 40 are rated, in the same proportions as all: the correction of the
    mean is exact, and the interval is narrower than that of the ratings alone, as the judge knows something.
    """
    judged = [1.0 if place % 2 == 0 or place % 4 == 1 else 0.0 for place in range(400)]
    human = [float(place % 2 == 0) for place in range(40)]
    (found,) = agreement(log({("judge", "norms"): judged}, JUDGE), ratings(ann=human)).calibrated
    assert (found.judged.estimate, found.human.estimate) == (0.75, 0.5)
    assert found.judged.low is not None
    assert found.judged.low > 0.5
    assert found.powered.estimate == pytest.approx(0.5)
    assert (found.judged.n, found.human.n, found.powered.n) == (400, 40, 40)
    assert found.powered.low is not None
    assert found.powered.high is not None
    assert found.human.low is not None
    assert found.human.high is not None
    assert found.powered.high - found.powered.low < found.human.high - found.human.low


def test_pairs_of_the_same_text_are_left_out_of_every_rate() -> None:
    given = log({("judge", "norms"): [1.0, 0.5, 0.5, 1.0]}, JUDGE, same=(1, 2))
    found = agreement(given, ratings(ann=(1.0,)))
    assert found.same_text == {"norms": 2}
    assert (found.calibrated[0].judged.estimate, found.calibrated[0].judged.n) == (1.0, 2)
    assert "2 pairs of the same text are left out" in told(given, found)


def test_unscored_verdicts_are_no_ties() -> None:
    found = agreement(log({("judge", "norms"): [None, 1.0]}, JUDGE), ratings(ann=(0.5, 1.0)))
    assert (found.scorers[0].n, found.human["norms"].n, found.calibrated[0].powered.n) == (1, 2, 1)


def test_no_ratings_say_nothing() -> None:
    with pytest.raises(ValueError, match="no ratings"):
        agreement(log({("judge", "norms"): [1.0]}, JUDGE), [])


def test_in_words() -> None:
    given = log({("judge", "norms"): [1.0, 1.0, 0.0, 0.5]}, JUDGE)
    said = told(given, agreement(given, ratings(ann=ANN, bob=BOB)))
    assert "same rating 75.0%; Cohen's kappa 0.636 over 4 pairs that all rated" in said
    assert "norms: 0.500 [" in said
    assert "same verdict 75.0% of 4 pairs, 100.0% of the 2 where neither says a tie; Spearman 0.833" in said
