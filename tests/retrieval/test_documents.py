"""Filters: what each member admits, and that members add up."""

from datetime import date

import pytest

from trimtab.retrieval.documents import Document, Filter

RULE = Document(
    "r1",
    "Ring the bell.",
    {
        "jurisdiction": ["north", "west"],
        "tags": ["bell", "noise"],
        "valid_from": "2026-01-01",
        "valid_until": "2026-12-31",
        "trust": "reviewed",
        "level": 2,
        "draft": False,
    },
)


@pytest.mark.parametrize(
    ("admitted", "refused"),
    [
        (Filter(jurisdiction=("west", "south")), Filter(jurisdiction=("south",))),
        (Filter(tags=("noise", "bell")), Filter(tags=("noise", "light"))),
        (Filter(valid_on=date(2026, 1, 1)), Filter(valid_on=date(2025, 12, 31))),
        (Filter(valid_on=date(2026, 12, 31)), Filter(valid_on=date(2027, 1, 1))),
        (Filter(min_trust="reviewed"), Filter(min_trust="trusted")),
        (Filter(where={"level": 2}), Filter(where={"level": 3})),
        (Filter(where={"draft": False}), Filter(where={"draft": 0})),
        (Filter(ids=("r1",)), Filter(ids=("r2",))),
        (Filter(jurisdiction=("west",), tags=("bell",)), Filter(jurisdiction=("west",), tags=("light",))),
    ],
)
def test_each_member_decides(admitted: Filter, refused: Filter) -> None:
    assert admitted.admits(RULE)
    assert not refused.admits(RULE)


def test_a_rule_without_jurisdiction_and_dates_holds_everywhere() -> None:
    rule = Document("r2", "Be kind.")
    assert Filter(jurisdiction=("south",), valid_on=date(1990, 1, 1)).admits(rule)
    assert not Filter(min_trust="reviewed").admits(rule)
    assert not Filter(tags=("bell",)).admits(rule)


def test_the_empty_filter_admits_everything() -> None:
    assert Filter().is_empty
    assert Filter().admits(RULE)
    assert not Filter(tags=("bell",)).is_empty
