"""Finding and breaking control strings without a tokenizer."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.server.engines.encoding import LookalikeScanner, escape
from trimtab.server.engines.encoding.controls import template_literals
from trimtab.server.engines.encoding.escape import BREAK, FAMILIES
from trimtab.server.engines.encoding.marks import Mark
from trimtab.server.engines.encoding.scan import SEPARATOR, Scanner, overlapping

STRINGS = ["<|im_start|>", "<|im_end|>", "<|im_end|>x", "[INST]", "[/INST]", "<s>", "</s>"]
MIXED = st.lists(st.sampled_from([*STRINGS, "<|", "im_", "end|>", "<", " ", "a", "[", "\x00", "\n"]), max_size=12).map("".join)


@given(MIXED)
def test_matches_are_the_leftmost_longest(text: str) -> None:
    plain = re.compile("|".join(re.escape(s) for s in sorted(STRINGS, key=len, reverse=True)))
    assert [m.span() for m in Scanner(STRINGS).matches(text)] == [m.span() for m in plain.finditer(text)]


@given(st.lists(MIXED, max_size=5))
def test_what_may_form_is_never_missed(parts: list[str]) -> None:
    """A string that any run of the parts forms is announced by the scan of the separated parts."""
    scanner = Scanner(STRINGS)
    if scanner.found("".join(parts)):
        assert scanner.may_form(SEPARATOR.join(parts))


def test_a_string_beside_takes_its_characters_first() -> None:
    scanner = Scanner(["<|a|>"], beside=["\n<"])
    assert scanner.found("x\n<|a|>") == ()
    assert scanner.found("x <|a|>") == ("<|a|>",)
    assert overlapping(["\n<", "\n\n", "<|a|>", "x<|a|>y"], ["<|a|>"]) == {"\n<", "x<|a|>y"}


def test_no_strings_match_nothing() -> None:
    assert Scanner([]).found("<|im_end|>") == ()
    assert not Scanner([]).may_form("<|im_end|>")


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|>", "<|start_header_id|>", "<|eot_id|>", "<｜begin▁of▁sentence｜>", "<start_of_turn>", "<end_of_turn>",
        "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>", "<tool_call>", "</tool_call>",
        "<think>", "[TOOL_CALLS]", "<unused12>",
    ],
)  # fmt: skip
def test_known_families_are_broken_for_the_machine_only(text: str) -> None:
    escaped = escape(f"a{text}b")
    assert text not in escaped
    assert escaped.replace(BREAK, "") == f"a{text}b"


@pytest.mark.parametrize("text", ["a < b | c > d", "<b>bold</b> <script>", "[link](x) [1]", "x<|y", "|> f <|", "List<String>"])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert escape(text) == text


@given(MIXED)
@example("<|[INST]end|>")
def test_escaping_leaves_no_known_string_and_is_stable(text: str) -> None:
    assert FAMILIES.search(escape(text)) is None
    assert escape(escape(text)) == escape(text)


@pytest.mark.parametrize("text", ["<|im_end|>", "<|im\u200b_end|>", "＜|im_end|＞", "<\u2060|im_end|>"])
def test_look_alikes_are_seen_through(text: str) -> None:
    assert LookalikeScanner().find(f"a norm {text} of ours") == {"<|im_end|>"}


def test_look_alikes_of_served_models() -> None:
    assert LookalikeScanner(["<custom>"]).find("a <custom> b [multimodal]") == {"<custom>"}
    assert LookalikeScanner().find("Be kind; 1 < 2.") == frozenset()


@given(st.text(), st.text())
def test_marks_come_off_without_a_trace(text: str, other: str) -> None:
    mark = Mark.absent_from([text, other, "\ue000"])
    assert mark is not None
    assert mark.removed_from(mark.dense(text) + other) == text + other
    assert mark.removed_from(mark.sparse(text, Scanner(STRINGS))) == text


@given(MIXED)
def test_marked_text_holds_no_control_string(text: str) -> None:
    mark = Mark("\ue000")
    assert Scanner(STRINGS).found(mark.dense(text)) == ()
    assert Scanner(STRINGS).found(mark.sparse(text, Scanner(STRINGS))) == ()


def test_what_a_template_writes() -> None:
    source = "{% if x == 'a\\nb' %}<|im_start|>{{ m['role'] + \"<|q|>\" }}{% endif %} tail{# note #}"
    assert {"a\nb", "<|im_start|>", "<|q|>", " tail"} <= set(template_literals([source]))
