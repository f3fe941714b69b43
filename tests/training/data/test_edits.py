"""Edit scripts: applied they give the target, and no script is shorter."""

from functools import cache
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trimtab.training.data.edits import Edit, apply, edit_chain, words, written

texts = st.lists(st.sampled_from(["a", "b", "c", " ", "\n", "dd "]), max_size=14).map("".join)


def distance(before: tuple[str, ...], after: tuple[str, ...]) -> int:
    """Fewest word operations, by the recursion that defines it."""

    @cache
    def rest(i: int, j: int) -> int:
        if i == len(before) or j == len(after):
            return len(before) - i + len(after) - j
        if before[i] == after[j]:
            return rest(i + 1, j + 1)
        return 1 + min(rest(i + 1, j), rest(i, j + 1), rest(i + 1, j + 1))

    return rest(0, 0)


@given(source=texts, target=texts)
def test_applied_it_gives_the_target(source: str, target: str) -> None:
    assert apply(source, edit_chain(source, target)) == target


@given(source=texts, target=texts)
def test_no_script_is_shorter(source: str, target: str) -> None:
    assert sum(edit.cost for edit in edit_chain(source, target)) == distance(words(source), words(target))


@given(source=texts, target=texts)
def test_neighbouring_operations_are_one_edit(source: str, target: str) -> None:
    edits = edit_chain(source, target)
    gaps = [after.at - (before.at + len(before.old)) for before, after in pairwise(edits)]
    assert all(gap > 0 for gap in gaps)


def test_by_hand() -> None:
    # the [big] old house -> the old [brick] house [stands]: one deletion and two insertions; replacing all but "the" costs 4
    source = "the big old house"
    edits = edit_chain(source, "the old brick house stands")
    assert edits == (Edit(1, (" big",), ()), Edit(3, (), (" brick",)), Edit(4, (), (" stands",)))
    assert written(source, edits) == '- delete "big"\n- insert "brick" after "old"\n- insert "stands" after "house"'


def test_written() -> None:
    assert written(" b", edit_chain(" b", " a b")) == '- insert "a" at the beginning'
    assert written("a c", edit_chain("a c", "a b c")) == '- insert "b" after "a"'
    assert written("same", edit_chain("same", "same")) == "- keep all"
