"""Filters by column against the filter's own word, document by document."""

from datetime import date
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.retrieval.columns import Added, Columns
from trimtab.retrieval.documents import TRUST, Document, Filter
from trimtab.retrieval.records import Row

names = st.sampled_from(["a", "b", "c"])
days = st.dates(date(2026, 1, 1), date(2026, 1, 4))
scalars: st.SearchStrategy[Any] = st.sampled_from(["1", "true", "", 1, 1.0, 2.5, -1, -2, 0, True, False])
several = st.one_of(names, st.lists(names, max_size=2))
metadata = st.fixed_dictionaries(
    {},
    optional={
        "tags": several,
        "jurisdiction": several,
        "trust": st.sampled_from(TRUST),
        "valid_from": days.map(date.isoformat),
        "valid_until": st.one_of(days.map(date.isoformat), st.none()),
        "level": scalars,
        "answer": scalars.map(str),
    },
)
filters = st.builds(
    Filter,
    jurisdiction=st.lists(names, max_size=2).map(tuple),
    tags=st.lists(names, max_size=2).map(tuple),
    valid_on=st.one_of(st.none(), days),
    min_trust=st.sampled_from(TRUST),
    where=st.dictionaries(st.sampled_from(["level", "answer", "tags", "nothing"]), scalars, max_size=2),
    ids=st.lists(st.integers(0, 12).map(str), max_size=3).map(tuple),
)


@given(documents=st.lists(metadata, max_size=12), removed=st.sets(st.integers(0, 12)), where=filters)
def test_a_filter_admits_what_it_says_it_admits(documents: list[dict[str, Any]], removed: set[int], where: Filter) -> None:
    columns = Columns()
    rows = [Row(number, number, str(number), given_metadata) for number, given_metadata in enumerate(documents)]
    columns.extend(Added.of(rows[: len(rows) // 2]))
    columns.extend(Added.of(rows[len(rows) // 2 :]))
    columns.remove(np.asarray(sorted(removed), dtype=np.int64))
    living = [row for row in rows if row.number not in removed]
    expected = [row.number for row in living if where.admits(Document(row.id, "text", row.metadata))]
    assert columns.admitted(where).tolist() == expected
    assert len(columns) == len(living)


def test_what_is_removed_gives_its_room_back() -> None:
    """3,000 of 4,000 rows removed is more than twice what is left: the columns shrink, and still say the same."""
    columns = Columns()
    tags = ("even", "odd")
    columns.extend(Added.of([Row(number, number, str(number), {"tags": tags[number % 2]}) for number in range(4000)]))
    columns.remove(np.arange(3000))
    columns.extend(Added.of([Row(4000, 4000, "4000", {"tags": ["even"]})]))
    assert columns.admitted(Filter(tags=("even",))).tolist() == [*range(3000, 4000, 2), 4000]
    assert columns.admitted(Filter(ids=("3001", "2999"))).tolist() == [3001]
    assert columns.documents(np.asarray([3001, 4000])).tolist() == [3001, 4000]
    assert columns.above(3997).tolist() == [3998, 3999, 4000]
    assert columns.held(np.asarray([1, 3500, 5000])).tolist() == [3500]


def test_empty_columns_admit_nothing() -> None:
    assert Columns().admitted(Filter(tags=("a",), ids=("1",))).tolist() == []
