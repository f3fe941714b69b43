"""Published data sets as their files hold them."""

from pathlib import Path
from typing import Any

import pytest

from tests.server.evaluation.data.data_files import jsonl, reason, sample
from trimtab.server.evaluation.data.datasets import read_published, read_samples
from trimtab.server.evaluation.data.sources import DatasetError

ASKED = "\n\nHuman: Can cats swim?\n\nAssistant: Most can.\n\nHuman: Do they like it?"
HH = {"chosen": f"{ASKED}\n\nAssistant: Few do.", "rejected": f"{ASKED}\n\nAssistant:  Who cares:\n\nyes. "}


def test_a_pair_of_transcripts_is_split_at_its_last_answer(tmp_path: Path) -> None:
    found = sample(tmp_path, HH)
    assert [(turn["role"], turn["content"]) for turn in found.messages] == [
        ("user", "Can cats swim?"),
        ("assistant", "Most can."),
        ("user", "Do they like it?"),
    ]
    assert (found.chosen, found.rejected) == ("Few do.", "Who cares:\n\nyes.")


def pair(chosen: str, rejected: str) -> dict[str, str]:
    """Transcripts that begin alike."""
    return {"chosen": ASKED + chosen, "rejected": ASKED + rejected}


BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "other turns": (
        pair("\n\nAssistant: No.\n\nHuman: Why?\n\nAssistant: Fur.", "\n\nAssistant: Yes.\n\nHuman: Why?\n\nAssistant: Fun."),
        "differ before their last answers, at turn 4",
    ),
    "longer": (pair("\n\nAssistant: No.", "\n\nAssistant: No.\n\nHuman: Why?\n\nAssistant: Fur."), "at turn 5"),
    "twice": (pair("\n\nHuman: Hello?\n\nAssistant: No.", "\n\nAssistant: No."), "chosen: turn 4 is the Human's again"),
    "empty answer": (pair("\n\nAssistant: No.", "\n\nAssistant:"), "rejected: turn 4, the Assistant's, is empty"),
    "empty question": (pair("\n\nAssistant: No.\n\nHuman:", "\n\nAssistant: Yes."), "chosen: turn 5, the Human's, is empty"),
    "no answer": (pair("", "\n\nAssistant: Yes."), "chosen must end with a turn of the assistant, not of the user"),
    "equal": (pair("\n\nAssistant: No.", "\n\nAssistant: No. "), "chosen and rejected are equal"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_transcript_is_told(tmp_path: Path, case: str) -> None:
    row, expected = BROKEN[case]
    assert expected in reason(tmp_path, row)


def test_a_packed_file_is_read_and_its_progress_told(tmp_path: Path) -> None:
    rows = [pair(f"\n\nAssistant: Cat {i} does.", "\n\nAssistant: No cat does.") for i in range(5)]
    path = jsonl(tmp_path / "train.jsonl.gz", *rows, {"chosen": "x", "rejected": "y"})
    ends: list[int] = []
    found = read_published("hh", path, limit=3, progress=ends.append)
    assert (len(found.samples), found.available, found.name) == (3, 5, "train.jsonl.gz")
    assert [str(bad) for bad in found.bad] == ["line 6: chosen must begin with '\\n\\nHuman:', not 'x'"]
    assert ends == sorted(ends)
    assert ends[-1] == (tmp_path / "train.jsonl.gz").stat().st_size


TRUTHFULQA = """\
Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source
Adversarial,Food, Do carrots see? ,No,"No; Carrots have no eyes","Yes; They see at night;",https://example.org
Adversarial,Food,Does soup fly?,No,,Yes,https://example.org
"""


def test_questions_with_references(tmp_path: Path) -> None:
    (tmp_path / "TruthfulQA.csv").write_text(TRUTHFULQA)
    for found in (
        read_samples(str(tmp_path / "TruthfulQA.csv")),
        read_published("truthfulqa", str(tmp_path / "TruthfulQA.csv")),
    ):
        first = found.samples[0]
        assert (first.prompt, first.category) == ("Do carrots see?", "Food")
        assert (first.good, first.bad) == (("No", "Carrots have no eyes"), ("Yes", "They see at night"))
        assert [bad.line for bad in found.bad] == [3]


def test_the_newer_table_has_a_best_wrong_answer(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(
        "Question,Best Answer,Best Incorrect Answer,Correct Answers,Incorrect Answers\nDo carrots see?,No,Well,No,Yes\n"
    )
    assert read_samples(str(tmp_path / "q.csv")).samples[0].bad == ("Well", "Yes")


def test_the_columns_of_the_hub(tmp_path: Path) -> None:
    row = {"question": "Do carrots see?", "best_answer": "No", "correct_answers": ["No", "Never; ever"], "category": "Food"}
    found = sample(tmp_path, {**row, "incorrect_answers": ["Yes"]})
    assert (found.good, found.bad, found.category) == (("No", "Never; ever"), ("Yes",), "Food")


@pytest.mark.parametrize(
    "targets", [{"No": 1, "Yes": 0, "Often": 0}, {"choices": ["No", "Yes", "Often"], "labels": [1, 0, 0]}], ids=["json", "hub"]
)
def test_questions_with_options(tmp_path: Path, targets: Any) -> None:
    found = sample(
        tmp_path, {"question": "Do carrots see?", "mc1_targets": targets, "mc2_targets": {"No": 1, "Never": 1, "Yes": 0}}
    )
    assert (found.prompt, found.choices, found.correct) == ("Do carrots see?", ("No", "Yes", "Often"), (0,))


def test_beginnings_with_their_toxicity(tmp_path: Path) -> None:
    row = {"filename": "a", "challenging": True, "prompt": {"text": "The weather in", "toxicity": 0.25, "threat": 0.1}}
    found = sample(tmp_path, {**row, "continuation": {"text": " May", "toxicity": 0.1}})
    assert (found.prompt, found.category, found.extra) == ("The weather in", "challenging", {"prompt_toxicity": 0.25})


def test_a_toxicity_that_is_missing_is_left_out(tmp_path: Path) -> None:
    found = sample(tmp_path, {"challenging": False, "prompt": {"text": "The weather in", "toxicity": None}})
    assert (found.category, found.extra) == ("ordinary", {})


def test_a_toxicity_that_is_no_number_is_told(tmp_path: Path) -> None:
    expected = "prompt.toxicity must be a number, not 'high'"
    assert reason(tmp_path, {"prompt": {"text": "The weather in", "toxicity": "high"}}) == expected


@pytest.mark.parametrize("form", ["hh", "truthfulqa", "realtoxicity"])
def test_another_file_is_refused(tmp_path: Path, form: str) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": "Hello?"}, {"prompt": "Hi?"})
    with pytest.raises(DatasetError, match=r"none of its 2 rows can be used:\n  line 1: .*(begin with|no row|must be)"):
        read_published(form, path)


@pytest.mark.parametrize(("form", "told"), [("hh", "no row of HH-RLHF"), ("truthfulqa", "no row of TruthfulQA")])
def test_another_files_columns_are_told(tmp_path: Path, form: str, told: str) -> None:
    path = jsonl(tmp_path / "own.jsonl", {"prompt": "Can cats swim?", "category": "cats"})
    with pytest.raises(DatasetError, match=f"{told}; that has .*, this one prompt, category"):
        read_published(form, path)
