"""A growing array against a list."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.retrieval.growing import Growing

steps = st.lists(st.one_of(st.lists(st.integers(0, 99), max_size=40), st.just("keep even")), max_size=12)


@given(steps=steps)
def test_it_is_a_list(steps: list[list[int] | str]) -> None:
    column: Growing[np.int64] = Growing(np.int64)
    rows: Growing[np.float32] = Growing(np.float32, 2)
    expected: list[int] = []
    for step in steps:
        if isinstance(step, list):
            column.extend(step)
            rows.extend(np.asarray([[value, -value] for value in step]).reshape(-1, 2))
            expected += step
        else:
            even = column.values % 2 == 0
            column.keep(even)
            rows.keep(even)
            expected = [value for value in expected if value % 2 == 0]
        assert column.values.tolist() == expected
        assert rows.values.tolist() == [[value, -value] for value in expected]
        assert len(column) == len(rows) == len(expected)
