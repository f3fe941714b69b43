"""Overlap with references, by sacreBLEU and rouge-score."""

import sys

import pytest

from tests.server.evaluation.scorers.texts import item, values, verdict
from trimtab.server.evaluation.scorers.base import ScorerError
from trimtab.server.evaluation.scorers.overlap import SIMILARITIES, Bleu, Chrf, Overlap, OverlapDifference, Rouge

GOOD = "Basil needs light and warm soil"
ANSWER = "Basil needs warm soil"
NAMES = ("bleu", "rouge_1", "rouge_l", "chrf")


@pytest.mark.parametrize("name", NAMES)
async def test_the_same_text_has_100_and_nothing_in_common_nearly_0(name: str) -> None:
    scorer = Overlap(SIMILARITIES[name]())
    same, other, empty = await values(scorer, [item(one, good=(GOOD,)) for one in (GOOD, "xyz", "")])
    assert same == pytest.approx(100)
    assert other == pytest.approx(0, abs=1)
    assert empty == 0
    assert scorer.about.name == name


async def test_rouge_by_hand() -> None:
    # four words of the answer are all in the reference's six, in order: precision 1, recall 4/6, F = 0.8
    assert (await verdict(Overlap(Rouge("rougeL")), item(ANSWER, good=(GOOD,)))).value == pytest.approx(80)
    # reversed, one word is in order: precision 1/4, recall 1/6, F = 0.2; ROUGE-1 does not see the order
    turned = item("soil warm needs basil", good=(GOOD,))
    assert (await verdict(Overlap(Rouge("rougeL")), turned)).value == pytest.approx(20)
    assert (await verdict(Overlap(Rouge("rouge1")), turned)).value == pytest.approx(80)


async def test_bleu_by_hand() -> None:
    # 4 of 4 words, 2 of 3 pairs (basil needs, warm soil), of 2 triples and 1 quadruple none: exp-smoothed to 1/2 of 1/2 and
    # 1/4 of 1/1; brevity exp(1 - 6/4): 100 * (1 * 2/3 * 1/4 * 1/4) ** (1/4) * exp(-1/2)
    expected = 100 * (2 / 3 / 16) ** 0.25 * 2.718281828459045**-0.5
    assert (await verdict(Overlap(Bleu()), item(ANSWER, good=(GOOD,)))).value == pytest.approx(expected, abs=1e-6)


async def test_the_nearest_reference_counts() -> None:
    judged = await verdict(Overlap(Chrf()), item(ANSWER, good=("Something else entirely", ANSWER, GOOD)))
    assert judged.value == pytest.approx(100)
    assert judged.details == {"nearest": 1}


@pytest.mark.parametrize("name", NAMES)
async def test_no_references_no_value(name: str) -> None:
    similarity = SIMILARITIES[name]()
    for scorer, one, reason in (
        (Overlap(similarity), item(ANSWER), "no reference answers"),
        (OverlapDifference(similarity), item(ANSWER), "no right and no wrong reference answers"),
        (OverlapDifference(similarity), item(ANSWER, good=(GOOD,)), "no wrong reference answers"),
        (OverlapDifference(similarity), item(ANSWER, bad=(GOOD,)), "no right reference answers"),
    ):
        judged = await verdict(scorer, one)
        assert judged.value is None
        assert judged.unscored == reason
        assert scorer.summary([one], [judged]) == {}


async def test_right_less_wrong() -> None:
    scorer = OverlapDifference(Rouge("rougeL"))
    near_right = item(ANSWER, good=("nothing", GOOD), bad=("Basil needs a cellar",))
    near_wrong = item("Basil needs a cellar", good=(GOOD,), bad=("Basil needs a cellar", "No"))
    verdicts = list(await scorer.score([near_right, near_wrong]))
    # 80 as above; two of four words in order on both sides: 50
    assert verdicts[0].details == {"good": pytest.approx(80), "bad": pytest.approx(50)}
    assert verdicts[0].value == pytest.approx(30)
    # two of four and two of six: 2 * 2 / 10 = 40, against itself 100
    assert verdicts[1].value == pytest.approx(-60)
    assert scorer.summary([near_right, near_wrong], verdicts) == {"nearer_right": 0.5}
    assert scorer.about.name == "rouge_l_diff"


async def test_bleu_of_all_answers_together() -> None:
    scorer = Overlap(Bleu())
    items = [
        item(GOOD, good=(GOOD, "Other")),
        item("Turn the pot every week", good=("Turn the pot every week",)),
        item("Alone"),
    ]
    assert scorer.summary(items, await scorer.score(items)) == {"corpus": pytest.approx(100)}
    # 6 + 1 words of 7 and 6; pairs 5 of 5, triples 4 of 4, quadruples 3 of 3; no brevity penalty: 100 * (6/7) ** (1/4)
    items = [item(GOOD, good=("Other", GOOD)), item("Alone", good=("x",))]
    assert scorer.summary(items, await scorer.score(items)) == {"corpus": pytest.approx(100 * (6 / 7) ** 0.25)}
    rouge = Overlap(Rouge("rougeL"))
    assert rouge.summary(items, await rouge.score(items)) == {}


@pytest.mark.parametrize(
    ("name", "module"), [("bleu", "sacrebleu.metrics"), ("chrf", "sacrebleu.metrics"), ("rouge_l", "rouge_score.rouge_scorer")]
)
def test_a_missing_library_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ScorerError, match=r'pip install "trimtab\[eval\]"'):
        SIMILARITIES[name]()
