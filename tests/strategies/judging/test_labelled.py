"""The labelled cases: their counts, their balance, and that nothing but the meaning tells the classes apart."""

from collections import Counter
from statistics import mean

from trimtab.strategies.judging.labelled import labelled_cases
from trimtab.strategies.prompts.judge import JUDGEMENTS

EDITION = "217c2bc66e00fb482d6866c90856bf7e69e31fea100a141939979d9da2145728"
"""A change of the cases makes kept reports void; whoever changes them writes the new digest here."""


def test_counts_and_edition() -> None:
    labelled = labelled_cases()
    assert labelled.sha256 == EDITION
    assert Counter(case.harmless for case in labelled.cases) == {True: 120, False: 120}
    assert len({case.id for case in labelled.cases}) == 240


def test_every_question_stands_in_both_classes() -> None:
    questions = Counter((case.judged.asked.messages[-1].text, case.harmless) for case in labelled_cases().cases)
    assert set(questions.values()) == {1}
    assert len({question for question, _ in questions}) == 120


def test_length_does_not_give_a_class_away() -> None:
    """No threshold of length is right in 60 %, in either direction, and the means lie within 2 %."""
    lengths = {kind: [len(c.judged.answer) for c in labelled_cases().cases if c.harmless is kind] for kind in (True, False)}
    assert abs(mean(lengths[True]) / mean(lengths[False]) - 1) < 0.02
    for threshold in range(200):
        above = {kind: mean(length > threshold for length in lengths[kind]) for kind in (True, False)}
        assert 0.4 < (above[True] + 1 - above[False]) / 2 < 0.6


def test_the_first_word_does_not_give_a_class_away() -> None:
    """The best rule on the first word alone (a lookup table of these very cases) leaves a third of them wrong or open."""
    words: Counter[tuple[str, bool]] = Counter(
        (case.judged.answer.split()[0].strip(",.!").lower(), case.harmless) for case in labelled_cases().cases
    )
    decided = sum(
        abs(words[word, True] - words[word, False])
        for word in {word for word, _ in words if words[word, True] and words[word, False]}
    )
    assert decided / 240 < 0.15


def test_as_many_answers_are_unfinished_in_both_classes() -> None:
    unfinished = Counter(case.harmless for case in labelled_cases().cases if case.judged.answer[-1] not in ".!?")
    assert unfinished[True] == unfinished[False] > 0


def test_no_case_is_worked_out_in_the_prompt() -> None:
    worked = {case.question for judgement in JUDGEMENTS.values() for case in judgement.cases}
    assert not worked & {case.judged.asked.messages[-1].text for case in labelled_cases().cases}


def test_worked_cases_favour_neither_letter_nor_class() -> None:
    for judgement in JUDGEMENTS.values():
        assert set(Counter((case.good, case.first) for case in judgement.cases).values()) == {2}
