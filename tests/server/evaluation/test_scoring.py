"""Scorers over a log: verdicts in order, reasons where there is none, what is counted as dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.server.evaluation.small import OTHER, PLAIN, generation, log_of, sample
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import Score, ScorerRecord
from trimtab.server.evaluation.scorers.base import About, Item, ScorerError, Verdict
from trimtab.server.evaluation.scoring import BATCH, NO_BASELINE, NOT_FINITE, dropped, items_of, score_log
from trimtab.strategies.core.errors import EngineUnavailable

ABOUT = About("words", "Words", "neither", "How many words the answer has.")


@dataclass
class Kept:
    """A log's sink in memory."""

    records: list[Score | ScorerRecord] = field(default_factory=list)

    def add(self, record: Score | ScorerRecord) -> None:
        self.records.append(record)

    @property
    def scores(self) -> dict[tuple[str, str], Score]:
        return {(one.alignment, one.sample): one for one in self.records if isinstance(one, Score)}

    @property
    def record(self) -> ScorerRecord:
        last = self.records[-1]
        assert isinstance(last, ScorerRecord)
        return last

    def into(self, log: Log) -> Log:
        scores = {(one.scorer, one.alignment, one.sample): one for one in self.records if isinstance(one, Score)}
        return replace(log, scores=scores, scorers={self.record.name: self.record})


@dataclass
class Words:
    """Counts words; fails on `boom`, gives NaN for `nan` and nothing for `none`."""

    about: About = ABOUT
    batches: list[int] = field(default_factory=list)

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        self.batches.append(len(items))
        if any(item.answer == "boom" for item in items):
            raise ValueError("no words for that")
        special = {"nan": Verdict(float("nan")), "none": Verdict(None, "nothing to say")}
        return [special.get(item.answer, Verdict(float(len(item.answer.split())), details={"a": 1})) for item in items]

    def summary(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        return {"scored": float(sum(one.value is not None for one in verdicts)), "odd": float("inf")}


async def test_a_verdict_an_answer_and_a_record_at_the_end() -> None:
    log, kept = log_of(generation("plain", "a", "one two"), generation("plain", "b", "one")), Kept()
    await score_log(log, [Words()], kept, fingerprints={"words": "abc"})
    assert {key: score.value for key, score in kept.scores.items()} == {("plain", "a"): 2.0, ("plain", "b"): 1.0}
    assert kept.scores["plain", "a"].details == {"a": 1}
    assert (kept.record.name, kept.record.sha256, kept.record.says) == ("words", "abc", ABOUT.says)


async def test_the_summary_is_by_alignment_and_finite() -> None:
    kept = Kept()
    await score_log(log_of(generation("plain", "a"), generation("plain", "b", "none")), [Words()], kept)
    assert kept.record.summary == {"plain": {"scored": 1.0}}


async def test_nan_and_silence_are_unscored_with_a_reason() -> None:
    kept = Kept()
    await score_log(log_of(generation("plain", "a", "nan"), generation("plain", "b", "none")), [Words()], kept)
    assert {key[1]: (one.value, one.unscored) for key, one in kept.scores.items()} == {
        "a": (None, NOT_FINITE),
        "b": (None, "nothing to say"),
    }


async def test_failed_answers_are_not_handed_over() -> None:
    kept = Kept()
    await score_log(log_of(generation("plain", "a"), generation("plain", "b", error="500 x: y")), [Words()], kept)
    assert set(kept.scores) == {("plain", "a")}


async def test_one_failing_item_costs_no_other_its_verdict() -> None:
    kept = Kept()
    await score_log(log_of(generation("plain", "a", "boom"), generation("plain", "b")), [Words()], kept)
    assert kept.scores["plain", "a"].unscored == "ValueError: no words for that"
    assert kept.scores["plain", "b"].value == 1.0


async def test_items_come_in_the_order_of_samples_and_in_batches() -> None:
    samples = [sample(f"s{i}") for i in range(BATCH + 3)]
    log = log_of(*(generation("plain", one.id) for one in reversed(samples)), samples=samples)
    assert [item.sample.id for item in items_of(log, PLAIN)] == [one.id for one in samples]
    words, told = Words(), list[int]()
    await score_log(log, [words], Kept(), tell=told.append)
    assert words.batches == [BATCH, 3]
    assert sum(told) == BATCH + 3


async def test_an_answer_without_one_to_compare_with_is_not_handed_to_a_scorer_that_compares() -> None:
    log = log_of(
        generation("plain", "a"),
        generation("plain", "b", error="500 x: y"),
        generation("value_prompt", "a"),
        generation("value_prompt", "b"),
    )
    kept, comparing = Kept(), Words(replace(ABOUT, compares=True))
    await score_log(log, [comparing], kept)
    assert {key: (one.value, one.unscored) for key, one in kept.scores.items()} == {
        ("plain", "a"): (1.0, None),
        ("value_prompt", "a"): (1.0, None),
        ("value_prompt", "b"): (None, NO_BASELINE),
    }
    assert comparing.batches == [1, 1]


def test_items_stand_beside_the_first_alignments_answers() -> None:
    log = log_of(generation("plain", "a", "first"), generation("value_prompt", "a", "second"))
    assert [item.baseline for item in items_of(log, PLAIN)] == [None]
    assert [item.baseline and item.baseline.answer for item in items_of(log, OTHER)] == ["first"]


async def test_an_engine_that_is_gone_ends_the_scoring() -> None:
    class Gone(Words):
        async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
            raise EngineUnavailable("it died")

    with pytest.raises(EngineUnavailable, match="it died"):
        await score_log(log_of(generation("plain", "a")), [Gone()], Kept())


async def test_a_scorer_that_cannot_work_ends_the_scoring() -> None:
    class Missing(Words):
        async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
            raise ScorerError("install it")

    class Short(Words):
        async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
            return []

    for scorer, message in ((Missing(), "install it"), (Short(), "0 verdicts on 2 answers")):
        with pytest.raises(ScorerError, match=message):
            await score_log(log_of(generation("plain", "a"), generation("plain", "b")), [scorer], Kept())


async def test_errored_unscored_and_unanswered_are_dropped() -> None:
    # 2 samples x 2 alignments: one scored, one NaN, one errored, one that was never asked for
    log = log_of(generation("plain", "a"), generation("plain", "b", "nan"), generation("value_prompt", "a", error="500 x: y"))
    kept = Kept()
    await score_log(log, [Words()], kept)
    found = dropped(kept.into(log), "words")
    assert (found.expected, found.errored, found.unscored, found.share) == (4, 2, 1, 0.75)
    assert set(found.reasons) == {f"{NOT_FINITE} (1)", "500 x: y (1)", "not answered (1)"}


def test_an_answer_that_nobody_scored_is_dropped() -> None:
    found = dropped(log_of(generation("plain", "a"), alignments=(PLAIN,), samples=(sample("a"),)), "words")
    assert (found.unscored, found.reasons) == (1, ("not scored (1)",))


async def test_answers_for_which_a_scorer_is_not_defined_are_not_expected() -> None:
    log = log_of(generation("plain", "a"), generation("plain", "b", "none"), alignments=(PLAIN,))
    kept = Kept()
    await score_log(log, [Words()], kept)
    scored = kept.into(log)
    assert dropped(scored, "words").share == 0.5
    assert dropped(scored, "words", applies=lambda one, answer: one.id == "a").share == 0.0
    assert dropped(scored, "words", applies=lambda one, answer: answer != "none").expected == 1
    assert dropped(scored, "words", under=()).share == 0.0
