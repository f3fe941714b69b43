"""Multiple choice by letters, in cyclic orders: what is right counts whatever letter it stands behind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.evaluation.scorers.asked import PLAIN, SEARCH, item_of
from trimtab.server.evaluation.records import Alignment
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import Item, Undefined
from trimtab.server.evaluation.scorers.choices import Choices, spread_out
from trimtab.strategies.prompts.judge import Layout

QUESTION = ({"role": "user", "content": "What do bees make?"},)


def question(*options: str, correct: tuple[int, ...] = (0,), name: str = "q") -> Sample:
    return Sample(name, QUESTION, choices=options, correct=correct)


@dataclass
class Knowing:
    """Reads options as they stand and likes each by a rule on (letter, text)."""

    rule: Callable[[str, str], float]
    asked: list[str] = field(default_factory=list)

    async def letters(
        self,
        alignment: Alignment,
        messages: Sequence[Mapping[str, Any]],
        layouts: Sequence[Layout],
        asked_in: Callable[[Layout], str],
        count: int,
    ) -> tuple[float, ...]:
        if alignment == SEARCH:
            raise Undefined("best_of_n searches")
        text = asked_in(layouts[0])
        self.asked.append(text)
        listed = [line for line in text.splitlines() if line.startswith("(")]
        assert len(listed) == count
        return tuple(self.rule(line[1], line[4:]) for line in listed)


KNOWS = Knowing(lambda letter, text: float(text == "honey"))


def item(sample: Sample, alignment: Alignment = PLAIN) -> Item:
    return item_of(sample=sample, alignment=alignment)


@given(st.permutations(["honey", "milk", "wool", "silk", "paper"]))
async def test_a_model_that_knows_is_right_in_every_order(options: list[str]) -> None:
    sample = question(*options, correct=(options.index("honey"),))
    (verdict,) = await Choices(KNOWS, rotations=5).score([item(sample)])
    assert verdict.value == 1.0


@given(st.integers(2, 6), st.data())
async def test_a_model_that_always_says_one_letter_scores_chance(count: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, count - 1))
    options = [f"option {number}" for number in range(count)]
    letter = "ABCDEF"[data.draw(st.integers(0, count - 1))]
    stuck = Choices(Knowing(lambda own, text: float(own == letter)), rotations=count)
    items = [item(question(*options, correct=(place,)))]
    verdicts = await stuck.score(items)
    assert verdicts[0].value == pytest.approx(1 / count)
    assert verdicts[0].details["letters"] == letter * count
    told = stuck.summary(items, verdicts)
    assert told["chance"] == pytest.approx(1 / count)
    # right whenever the right option stands behind its letter, and never else
    assert told["letter_spread"] == 1.0


async def test_how_a_question_is_asked_and_what_is_told() -> None:
    knowing = Knowing(lambda letter, text: {"milk": 2.0, "honey": 1.0 if letter == "B" else 3.0}.get(text, 0.0))
    choices = Choices(knowing)
    items = [item(question("honey", "milk", "wool"))]
    verdicts = await choices.score(items)
    assert knowing.asked[1] == (
        "What do bees make?\n\n(A) milk\n(B) wool\n(C) honey\n\nAnswer with the letter of the right option alone."
    )
    # orders: honey at A (3 > 2: right), at C (right), at B (1 < 2: wrong, milk at C)
    assert verdicts[0].value == pytest.approx(2 / 3)
    assert verdicts[0].details == {"picked": [0, 0, 1], "letters": "ACC", "right_letters": "ACB", "right": [True, True, False]}
    assert choices.summary(items, verdicts) == pytest.approx({"chance": 1 / 3, "majority": 1.0, "letter_spread": 1.0})


def test_capped_orders_are_spread_over_all() -> None:
    assert spread_out(4, 4) == [0, 1, 2, 3]
    assert spread_out(8, 4) == [0, 2, 4, 6]
    assert spread_out(13, 4) == [0, 3, 6, 9]
    assert spread_out(2, 4) == [0, 1]


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (Sample("q", QUESTION), "no options"),
        (question("a", "b", correct=()), r"does not say which of its 2 options are right \(correct: \[\]\)"),
        (question("a", "b", correct=(2,)), "correct: \\[2\\]"),
        (question(*map(str, range(27))), "27 options; letters tell 26 apart"),
    ],
)
async def test_what_is_no_question_is_unscored(sample: Sample, reason: str) -> None:
    (verdict,) = await Choices(KNOWS).score([item(sample)])
    assert verdict.value is None
    with pytest.raises(ValueError, match=reason):
        raise ValueError(verdict.unscored)


async def test_an_alignment_that_searches_is_unscored() -> None:
    sample = question("honey", "milk")
    choices = Choices(KNOWS)
    verdicts = await choices.score([item(sample, SEARCH)])
    assert (verdicts[0].value, verdicts[0].unscored) == (None, "best_of_n searches")
    assert choices.summary([item(sample, SEARCH)], verdicts) == {}


async def test_a_letter_without_a_number_is_unscored() -> None:
    broken = Choices(Knowing(lambda letter, text: float("nan") if text == "milk" else 0.0))
    (verdict,) = await broken.score([item(question("honey", "milk"))])
    assert (verdict.value, verdict.unscored) == (None, "the model gave nan for a letter, which is no number")
