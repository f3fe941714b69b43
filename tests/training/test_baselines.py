import json
from pathlib import Path

import pytest

from trimtab.training.baselines import PairText, bag_of_words, length_rule
from trimtab.training.errors import DataError
from trimtab.training.evaluation import proportion

FRUIT, TOOLS = ("apple", "pear", "plum", "cherry"), ("hammer", "saw", "drill", "spanner")
DATA = Path(__file__).parents[3] / "shared" / "data"


def fruit_is_better(count: int, start: int = 0) -> list[PairText]:
    """Pairs of one length whose better answer names fruit."""
    return [
        (f"Question {i}?", f"take {FRUIT[i % 4]} and {FRUIT[(i + 1) % 4]}", f"take {TOOLS[i % 4]} and {TOOLS[(i + 3) % 4]}")
        for i in range(start, start + count)
    ]


def test_the_shorter_answer_wins() -> None:
    # rejected minus chosen: 5 - 2 = 3, 2 - 5 = -3, 4 - 4 = 0; one win and one half of three
    baseline = length_rule([("?", "no", "maybe"), ("?", "maybe", "no"), ("?", "yes!", "nope")])
    assert baseline.margins == (3.0, -3.0, 0.0)
    assert baseline.outcomes == (1.0, 0.0, 0.5)
    assert baseline.accuracy == proportion(1.5, 3)


def test_words_that_decide_are_found() -> None:
    baseline = bag_of_words(fruit_is_better(40), fruit_is_better(10, start=40))
    assert baseline.accuracy.value == 1.0
    assert min(baseline.margins) > 0


def test_exchanging_the_answers_negates_the_margin() -> None:
    held_out = fruit_is_better(6)
    swapped = [(prompt, rejected, chosen) for prompt, chosen, rejected in held_out]
    there, back = bag_of_words(fruit_is_better(4), held_out), bag_of_words(fruit_is_better(4), swapped)
    assert there.margins == pytest.approx([-margin for margin in back.margins])


def test_the_prompt_is_not_used() -> None:
    train, held_out = fruit_is_better(4), fruit_is_better(6)
    other = [("hammer hammer hammer", chosen, rejected) for _, chosen, rejected in held_out]
    assert bag_of_words(train, held_out) == bag_of_words(train, other)


def test_unknown_words_are_a_tie() -> None:
    baseline = bag_of_words(fruit_is_better(4), [("?", "bonjour", "bonsoir")])
    assert baseline.outcomes == (0.5,)


def test_the_same_seed_gives_the_same_baseline() -> None:
    train, held_out = fruit_is_better(23), fruit_is_better(7)
    assert bag_of_words(train, held_out, seed=3) == bag_of_words(train, held_out, seed=3)


def test_fewer_pairs_than_folds_are_enough() -> None:
    assert bag_of_words(fruit_is_better(2), fruit_is_better(1)).accuracy.value == 1.0


def test_pairs_without_a_lesson() -> None:
    same = [("?", "as you like", "as you like")] * 6
    assert bag_of_words(same, fruit_is_better(2)).outcomes == (0.5, 0.5)


def test_what_cannot_be_scored() -> None:
    with pytest.raises(DataError, match="not 0 and 1"):
        bag_of_words([], fruit_is_better(1))
    with pytest.raises(DataError, match="not 1 and 0"):
        bag_of_words(fruit_is_better(1), [])
    with pytest.raises(DataError, match="holds a word"):
        bag_of_words([("?", "...", "!!!")], fruit_is_better(1))
    with pytest.raises(DataError, match="at least one item"):
        length_rule([])


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared preference data are not beside this checkout")
def test_the_bars_of_the_harmlessness_pairs() -> None:
    """Recorded with scikit-learn 1.9: the length rule 0.603 of 200 pairs, the bag of words 0.610 to 0.625 over seeds."""
    train, held_out = pairs(DATA / "hh_harmless_train.jsonl"), pairs(DATA / "hh_harmless_eval.jsonl")
    assert length_rule(held_out).accuracy.value == pytest.approx(0.6025)
    assert bag_of_words(train, held_out).accuracy.value == pytest.approx(0.61, abs=0.03)


def pairs(path: Path) -> list[PairText]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [("", row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]
