"""What each method sees of rows; fallbacks from one form to another; ties."""

from typing import Any

import pytest

from tests.training.data.tiny import shown, tokenizer
from trimtab.training.data.example_sets import ExampleSet, examples
from trimtab.training.data.examples import Branch, Example
from trimtab.training.data.hindsight import Hindsight, Markers
from trimtab.training.data.rows import Preference, Response, Row, Turn
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.data.tokens import Unusable
from trimtab.training.data.views import VIEWS, Demo, Pair, Scored, View
from trimtab.training.errors import ConfigInvalid, DataError

MADE: Any = tokenizer()
TOKENIZER = RowTokenizer(MADE)
ASK = (Turn("user", "Q"),)
PAIR = Row("1", ASK, (Response("good", kind="chosen"), Response("bad", kind="rejected")), (Preference(0, 1, 0.9, 2.0),), 5)
LIST = Row("2", ASK, tuple(Response(text, score=score) for text, score in (("mid", 2.0), ("top", 3.0), ("also", 2.0))), line=6)
EDIT = Row("3", ASK, (Response("draft one", kind="original"), Response("draft two", kind="revision")), line=7)


def seen(row: Row, view: View) -> list[Example]:
    """A row's examples."""
    return list(view(row, TOKENIZER))


def said(example: Example) -> list[str]:
    """The branches as text, without the end of turn."""
    return [shown(MADE, branch.ids).removesuffix("<|end|>") for branch in example.branches]


def counting(branch: Branch) -> str:
    """The counting part of a branch."""
    weights = branch.weights or (1.0,) * len(branch.ids)
    return shown(MADE, tuple(token for token, weight in zip(branch.ids, weights, strict=True) if weight))


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        (PAIR, "good"),
        (LIST, "top"),
        (EDIT, "draft two"),
        (Row("", ASK, (Response("x", kind="sample"),)), "x"),
        (Row("", ASK, (Response("x", kind="red"), Response("y", kind="blue"))), "y"),
        (Row("", ASK, (Response("x", label=False), Response("y", label=True))), "y"),
        (Row("", ASK, (Response("x", rank=2), Response("y", rank=1))), "y"),
        (Row("", ASK, (Response("x", score=9.0, weight=0.0), Response("y", score=1.0))), "y"),
        (Row("", ASK, (Response("x", score=9.0), Response("y", kind="gold"))), "y"),
    ],
)
def test_demo_learns_the_best_answer(row: Row, answer: str) -> None:
    assert [said(example) for example in seen(row, Demo())] == [[answer]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Row("", ASK), "no response to learn"),
        (Row("", ASK, (Response("x", label=False),)), "no response to learn"),
        (Row("", ASK, (Response("x"), Response("y"))), "does not say which"),
    ],
)
def test_demo_of_a_row_without_a_good_answer(row: Row, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        seen(row, Demo())


def test_demo_of_a_kind_gives_every_answer_of_it() -> None:
    row = Row("", ASK, (Response("a", kind="original"), Response("b", kind="revision"), Response("c", kind="revision")))
    assert [said(example) for example in seen(row, Demo(kind="revision"))] == [["b"], ["c"]]


def test_prompt_weight_puts_the_prompt_into_the_branch() -> None:
    plain, weighted = seen(PAIR, Demo())[0], seen(PAIR, Demo(prompt_weight=0.25))[0]
    assert weighted.prompt == plain.prompt[:1]
    assert weighted.prompt + weighted.branches[0].ids == plain.prompt + plain.branches[0].ids
    # of the prompt all tokens but the first are predicted; "good" and its end of turn are 5 tokens
    assert weighted.branches[0].weights == (0.25,) * (len(plain.prompt) - 1) + (1.0,) * 5


def test_prompt_weight_is_a_share() -> None:
    with pytest.raises(ConfigInvalid, match="prompt_weight is 2"):
        Demo(prompt_weight=2)


def test_demo_of_all_turns_and_of_whole_texts() -> None:
    talk = Row("", (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")), (Response("d"),))
    assert counting(seen(talk, Demo(turns="assistant"))[0].branches[0]) == "b<|end|>d<|end|>"
    assert counting(seen(talk, Demo())[0].branches[0]) == "d<|end|>"
    text = seen(Row("", "", (Response("whole"),)), Demo())[0]
    assert (shown(MADE, text.prompt), said(text)) == ("w", ["hole"])


def test_pair() -> None:
    example = seen(PAIR, Pair())[0]
    assert said(example) == ["good", "bad"]
    assert (example.preference, example.margin, example.line) == (0.9, 2.0, 5)
    assert example.prompt == TOKENIZER.prompt(ASK)


def test_pair_that_is_likelier_the_other_way_round_is_turned() -> None:
    turned = Row("", ASK, PAIR.responses, (Preference(0, 1, 0.25, 2.0),))
    example = seen(turned, Pair())[0]
    assert (said(example), example.preference, example.margin) == (["bad", "good"], 0.75, -2.0)


def test_pairs_of_a_list_are_its_strict_orders() -> None:
    assert [said(example) for example in seen(LIST, Pair())] == [["top", "mid"], ["top", "also"]]
    spread = Row("", ASK, tuple(Response(text, score=score) for text, score in (("b", 2.0), ("c", 1.0), ("a", 3.0))))
    assert len(seen(spread, Pair())) == 3
    assert [said(example) for example in seen(spread, Pair(of_lists="extremes"))] == [["a", "c"]]


def test_pair_from_kinds_labels_and_ranks() -> None:
    by_label = Row("", ASK, (Response("x", label=False), Response("y", label=True)))
    by_rank = Row("", ASK, (Response("x", rank=3), Response("y", rank=1)))
    assert [said(seen(row, Pair())[0]) for row in (EDIT, by_label, by_rank)] == [
        ["draft two", "draft one"],
        ["y", "x"],
        ["y", "x"],
    ]
    with pytest.raises(Unusable, match="which of two responses is better"):
        seen(Row("", ASK, (Response("x", score=1.0), Response("y", score=1.0))), Pair())


def test_pair_for_a_scorer_keeps_what_follows_the_turn() -> None:
    assert said(seen(PAIR, Pair(form="scorer"))[0]) == ["good<|end|>\n", "bad<|end|>\n"]


def test_gold_is_the_third_branch_or_the_chosen() -> None:
    view = VIEWS["pair_with_gold"]
    assert said(seen(PAIR, view)[0]) == ["good", "bad", "good"]
    row = Row("", ASK, (*PAIR.responses, Response("target", kind="gold")), PAIR.preferences)
    assert [said(example) for example in seen(row, view)] == [["good", "bad", "target"]]


def test_list_is_sorted_and_keeps_ties() -> None:
    example = seen(LIST, VIEWS["list"])[0]
    assert said(example) == ["top", "mid", "also"]
    assert [branch.score for branch in example.branches] == [3.0, 2.0, 2.0]


def test_list_of_a_pair_and_of_ranks() -> None:
    pair = seen(PAIR, VIEWS["list"])[0]
    assert [(text, branch.score) for text, branch in zip(said(pair), pair.branches, strict=True)] == [
        ("good", 1.0),
        ("bad", 0.0),
    ]
    ranks = seen(Row("", ASK, (Response("x", rank=2), Response("y", rank=1))), VIEWS["list"])[0]
    assert said(ranks) == ["y", "x"]


def test_scores_missing_stops_with_the_line() -> None:
    row = Row("", ASK, (Response("x", score=1.0), Response("y"), Response("z")), line=12)
    for view in (VIEWS["list"], Scored()):
        with pytest.raises(DataError, match="line 12: scores missing for"):
            examples([row], view, TOKENIZER, 100)


def test_list_of_one_is_left_out() -> None:
    with pytest.raises(Unusable, match="a list needs two responses, it has 1"):
        seen(Row("", ASK, (Response("x", score=1.0),)), VIEWS["list"])


def test_scored_takes_labels_for_scores() -> None:
    row = Row("", ASK, (Response("x", score=0.5), Response("y", label=True), Response("z", label=False)))
    assert [example.branches[0].score for example in seen(row, Scored())] == [0.5, 1.0, 0.0]


def test_unpaired() -> None:
    rows = [PAIR, Row("", ASK, (Response("safe", kind="blue"), Response("harm", kind="red"))), LIST]
    labels = [[(said(e)[0], e.branches[0].label) for e in seen(row, VIEWS["unpaired"])] for row in rows[:2]]
    assert labels == [[("good", True), ("bad", False)], [("safe", True), ("harm", False)]]
    with pytest.raises(Unusable, match="whether it is wanted"):
        seen(LIST, VIEWS["unpaired"])


def test_unpaired_follows_the_preference_before_the_kind() -> None:
    turned = Row("", ASK, PAIR.responses, (Preference(0, 1, 0.2),))
    assert {said(e)[0]: e.branches[0].label for e in seen(turned, VIEWS["unpaired"])} == {"good": False, "bad": True}
    tied = Row("", ASK, PAIR.responses, (Preference(0, 1, 0.5),))
    with pytest.raises(Unusable):
        seen(tied, VIEWS["unpaired"])


def test_labels_of_one_kind_only() -> None:
    row = Row("", ASK, (Response("x", label=True),))
    with pytest.raises(DataError, match="every response is wanted: this method needs both kinds"):
        examples([row], VIEWS["unpaired"], TOKENIZER, 100)


def test_wanted_are_the_unpaired_that_are_wanted() -> None:
    assert [said(example)[0] for example in seen(PAIR, VIEWS["wanted"])] == ["good"]
    assert not seen(Row("", ASK, (Response("bad", label=False),)), VIEWS["wanted"])


def test_prompts_have_no_branch() -> None:
    assert seen(PAIR, VIEWS["prompts"]) == [Example(TOKENIZER.prompt(ASK), (), line=5)]


def test_weights() -> None:
    row = Row("", ASK, (Response("a", score=2.0, weight=0.5), Response("b", score=1.0), Response("c", score=0.0, weight=0.0)))
    assert [example.weight for example in seen(row, Scored())] == [0.5, 1.0]
    assert [(said(example), example.weight) for example in seen(row, Pair())] == [(["a", "b"], 0.75)]


def test_hindsight_counts_answers_and_the_end() -> None:
    view = Hindsight(markers=(Markers("GOOD", "BAD"),))
    branches = [example.branches[0] for example in seen(PAIR, view)]
    assert [counting(branch) for branch in branches] == ["good<|end|>", "bad<|end|>", "badgood<|end|>", "goodbad<|end|>"]


def test_hindsight_layout_and_markers_by_turns() -> None:
    view = Hindsight(markers=(Markers("GOOD", "BAD"), Markers("FINE", "POOR")), orders=("pn", "p"))
    first, second = seen(PAIR, view)  # line 5: the odd place begins with the second markers
    whole = [shown(MADE, example.prompt + example.branches[0].ids).rpartition("assistant\n")[2] for example in (first, second)]
    assert whole == ["FINE\ngood\n\nPOOR\nbad<|end|>", "GOOD\ngood<|end|>"]
    plain = seen(Row("", "Q:", PAIR.responses, PAIR.preferences), Hindsight((Markers("GOOD", "BAD"),), ("p",)))[0]
    assert shown(MADE, plain.prompt + plain.branches[0].ids) == "Q:\nGOOD\ngood<|end|>"


def test_hindsight_leaves_ties_out() -> None:
    with pytest.raises(Unusable):
        seen(Row("", ASK, PAIR.responses, (Preference(0, 1, 0.5),)), Hindsight())


def test_second_thoughts_counts_edits_and_result() -> None:
    branch = seen(EDIT, VIEWS["second_thoughts"])[0].branches[0]
    assert counting(branch) == '- replace "one" with "two"\n\nResult:\ndraft two<|end|>'


def test_an_over_long_prompt_is_dropped_and_an_answer_loses_its_end() -> None:
    size = len(TOKENIZER.prompt(ASK))
    long = Row("", (Turn("user", "Q" * 50),), PAIR.responses, PAIR.preferences, 8)
    made = examples([PAIR, long], Pair(), TOKENIZER, size + 4)  # "good" + end is 5 tokens, "bad" + end 4
    assert [said(example) for example in made.examples] == [["good", "bad"]]
    assert [len(branch.ids) for branch in made.examples[0].branches] == [4, 4]
    assert [(one.line, one.reason) for one in made.dropped] == [(8, f"its prompt alone fills the maximum length of {size + 4}")]
    assert made.cut == 1


def test_nothing_counts_is_never_kept() -> None:
    # the draft of second thoughts stands in the prompt; with a prompt weight the answer is what must not be lost
    size = len(TOKENIZER.prompt(ASK))
    with pytest.raises(DataError, match="fills the maximum length"):
        examples([EDIT], VIEWS["second_thoughts"], TOKENIZER, size + 3)
    talk = Row("", (*ASK, Turn("assistant", "b"), Turn("user", "c")), (Response("d"),))
    with_prompt = examples([talk], Demo(prompt_weight=0.5, turns="last"), TOKENIZER, 200)
    assert with_prompt.cut == 0
    with pytest.raises(DataError, match="nothing that counts is left"):
        examples([talk], Demo(prompt_weight=0.5, turns="last"), TOKENIZER, size + 3)


def test_answers_that_are_equal_when_cut() -> None:
    row = Row("", ASK, (Response("same a", kind="chosen"), Response("same b", kind="rejected")), (Preference(0, 1),), 3)
    other = Row("", ASK, (Response("x"),), line=4)
    room = len(TOKENIZER.prompt(ASK)) + 4
    with pytest.raises(DataError, match="line 3: its answers are equal within"):
        examples([row, other], Pair(), TOKENIZER, room)


def test_views_give_what_they_can() -> None:
    made = examples([PAIR, LIST, Row("", ASK, line=9)], Pair(), TOKENIZER, 200)
    assert isinstance(made, ExampleSet)
    assert [example.line for example in made.examples] == [5, 6, 6]
    assert [str(one) for one in made.dropped] == ["line 9: does not say which of two responses is better"]
