"""Lengths of answers."""

from tests.server.evaluation.scorers.texts import item, verdict
from trimtab.server.evaluation.scorers.length import Length


async def test_words_and_characters() -> None:
    judged = await verdict(Length(), item("Water it daily."))
    assert judged.value == 3
    assert judged.details == {"characters": 15}


async def test_an_empty_answer_has_no_words_and_is_scored() -> None:
    judged = await verdict(Length(), item(""))
    assert judged.value == 0
    assert judged.unscored is None


async def test_all_together() -> None:
    items = [item("One two three."), item("One."), item(" ")]
    scorer = Length()
    # 3, 1 and 0 words: median 1; (14 + 4 + 1) / 3 characters; one of three is empty
    assert scorer.summary(items, await scorer.score(items)) == {"median_words": 1, "mean_characters": 19 / 3, "empty": 1 / 3}
    assert scorer.summary([], []) == {}
