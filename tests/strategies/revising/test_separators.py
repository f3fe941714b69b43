"""Separators: every text comes back, and none of them holds a mark in between."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.artifacts.correction import FORMATS
from trimtab.strategies.revising.dialogue import MARKS
from trimtab.strategies.revising.separators import Separators, cut

ALL: dict[str, tuple[str, ...]] = {"raw": MARKS}
ALL |= {name: template.marks for name, template in FORMATS.items()}
NOISE = st.text(alphabet=" |:#[]UASER\n", max_size=6)
texts = st.lists(st.one_of(NOISE, st.sampled_from([mark for marks in ALL.values() for mark in marks])), max_size=8).map("".join)


@given(text=texts, name=st.sampled_from(sorted(ALL)))
def test_what_was_written_apart_comes_back(text: str, name: str) -> None:
    separators = Separators.of(ALL[name])
    assert separators.together(separators.apart(text)) == text


@given(text=texts, name=st.sampled_from(sorted(ALL)))
def test_no_mark_is_left_in_between(text: str, name: str) -> None:
    apart = Separators.of(ALL[name]).apart(text)
    assert not any(mark in apart for mark in ALL[name] if len(mark) > 1)
    assert "|" not in ALL[name] or " | " not in f" {apart} "


def test_it_stays_readable() -> None:
    separators = Separators.of(FORMATS["question_answer"].marks)
    assert separators.apart("What does ##Answer: mean? USER: me") == "What does ##Answer : mean? USER : me"
    assert Separators.of(["|"]).apart("| a | b|c |") == "|| a || b|c ||"


def test_a_text_is_cut_at_the_first_stop() -> None:
    assert cut("one STOP two HALT", ("HALT", "STOP")) == "one "
    assert cut("one", ("STOP",)) == "one"
