"""Rows as TRL's columns and back."""

from typing import Any

import pytest

from trimtab.training.data.columns import row_of
from trimtab.training.data.export import Columns, to_trl

ASK = [{"role": "user", "content": "Q"}]
ANSWERS = [[{"role": "assistant", "content": text}] for text in ("good", "bad")]


@pytest.mark.parametrize(
    ("columns", "record"),
    [
        ("preference", {"prompt": "Q", "chosen": "good", "rejected": "bad"}),
        ("preference", {"prompt": ASK, "chosen": ANSWERS[0], "rejected": ANSWERS[1], "margin": 1.5}),
        ("prompt_completion", {"prompt": ASK, "completion": ANSWERS[0]}),
        ("unpaired", {"prompt": "Q", "completion": "bad", "label": False}),
        ("prompt_only", {"prompt": ASK}),
    ],
)
def test_round_trip_without_loss(columns: Columns, record: dict[str, Any]) -> None:
    exported = to_trl([row_of(record, 1)], columns)
    assert (exported.records, exported.lossy, exported.left_out) == ((record,), 0, 0)


@pytest.mark.parametrize(
    ("columns", "record"),
    [
        ("preference", {"prompt": "Q", "chosen": "a", "rejected": "b", "p": 0.7}),
        ("preference", {"prompt": "Q", "chosen": "a", "rejected": "b", "scores": [2, 1]}),
        ("preference", {"prompt": "Q", "completions": ["a", "b", "c"], "scores": [3, 2, 1]}),
        ("prompt_completion", {"prompt": "Q", "chosen": "a", "rejected": "b"}),
        ("prompt_completion", {"prompt": "Q", "completion": "a", "weight": 0.5}),
        ("unpaired", {"prompt": "Q", "chosen": "a", "rejected": "b"}),
        ("prompt_only", {"prompt": "Q", "completion": "a"}),
    ],
)
def test_what_is_lost_is_counted(columns: Columns, record: dict[str, Any]) -> None:
    assert to_trl([row_of(record, 1)], columns).lossy == 1


def test_strict_orders_of_a_list() -> None:
    row = row_of({"prompt": "Q", "completions": ["a", "b", "c"], "scores": [2, 3, 2]}, 1)
    records = to_trl([row], "preference").records
    assert [(one["chosen"], one["rejected"]) for one in records] == [("b", "a"), ("b", "c")]


def test_rows_that_do_not_fit_are_counted() -> None:
    row = row_of({"prompt": "Q"}, 1)
    for columns in ("preference", "prompt_completion", "unpaired"):
        assert to_trl([row], columns).left_out == 1
