"""TruthfulQA: questions with right and wrong answers, as its CSV, its multiple-choice JSON and its hub columns hold them.

CSV   Type, Category, Question, Best Answer, [Best Incorrect Answer,] Correct Answers, Incorrect Answers (set apart by ";")
JSON  question, mc1_targets (and mc2_targets): option -> 1 where it is right
hub   question, best_answer, correct_answers, incorrect_answers, category; or as the JSON, with lists of choices and labels
Source: Lin et al. 2022, arXiv 2109.07958.
"""

from typing import Any

from trimtab.server.evaluation.data.conversations import as_user
from trimtab.server.evaluation.data.fields import BadRecord, Record, a_string, divided, strings
from trimtab.server.evaluation.data.multiple_choice import TARGETS, options_of
from trimtab.server.evaluation.samples import Sample

_CSV = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")
_HUB = ("question", "best_answer", "correct_answers", "incorrect_answers")


def is_truthfulqa(record: Record) -> bool:
    """Whether the record has the columns of one of the three, and no prompt of its own."""
    if "prompt" in record:
        return False
    return any(set(columns) <= record.keys() for columns in (_CSV, _HUB)) or _is_choice(record)


def _is_choice(record: Record) -> bool:
    return "question" in record and any(column in record for column in TARGETS)


def truthfulqa_sample(record: Record) -> Sample:
    """The question with its references or its options. Raises BadRecord where the record is no row of TruthfulQA."""
    if _is_choice(record):
        options, correct = options_of(record)
        return Sample("", as_user(a_string(record["question"], "question")), choices=options, correct=correct)
    for columns in (_CSV, _HUB):
        if set(columns) <= record.keys():
            return _with_references(record, columns)
    forms = f"{', '.join(_CSV)}, or question and mc1_targets"
    raise BadRecord(f"no row of TruthfulQA; that has {forms}, this one {', '.join(record) or 'nothing'}")


def _with_references(record: Record, columns: tuple[str, ...]) -> Sample:
    question, best, right, wrong = columns
    category = record.get("Category", record.get("category"))
    good = (a_string(record[best], best).strip(), *_answers(record[right], right))
    bad = _answers(record[wrong], wrong)
    if "Best Incorrect Answer" in record:
        bad = (a_string(record["Best Incorrect Answer"], "Best Incorrect Answer").strip(), *bad)
    return Sample(
        "",
        as_user(a_string(record[question], question).strip()),
        category=None if category is None else a_string(category, "Category"),
        good=tuple(dict.fromkeys(good)),
        bad=tuple(dict.fromkeys(bad)),
    )


def _answers(value: Any, column: str) -> tuple[str, ...]:
    return strings(divided(value) if isinstance(value, str) else value, column)
