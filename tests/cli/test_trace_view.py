"""The account of an answer as a terminal shows it."""

import json
from io import StringIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trimtab.cli.trace_view import DIFF_LINES, INNER_NODES, NODES, STEP_LINES, lines, show

WIDTH = 100


def step(kind: str, role: str = "shaper", **members: Any) -> dict[str, Any]:
    record = {"status": "applied", "changed": True, "ms": 12.4, "calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
    return {"strategy": kind, "role": role, **record, **members}


def account(*steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    usage = {
        "calls": 3,
        "discarded_tokens": 40,
        "by_role": {"policy": {"calls": 3, "prompt_tokens": 9, "completion_tokens": 50}},
    }
    return {
        "strategy": ["x"],
        "status": "applied",
        "changed": True,
        "steps": list(steps),
        "usage": usage,
        "warnings": [],
        **members,
    }


def shown(report: Any, width: int = WIDTH) -> str:
    return "\n".join(line.plain for line in lines(report, width=width))


def line_with(text: str, words: str) -> str:
    found = [line for line in text.splitlines() if words in line]
    assert found, f"{words!r} is not in:\n{text}"
    return found[0]


def styles_of(report: Any, words: str) -> str:
    (line,) = [line for line in lines(report, width=WIDTH) if words in line.plain]
    return f"{line.style} {' '.join(str(span.style) for span in line.spans)}"


def test_a_request_that_passed_through() -> None:
    assert shown(None) == "[no alignment: passed through]"


def test_the_head_tells_status_and_cost_and_each_step_its_own() -> None:
    used = {"calls": 2, "prompt_tokens": 310, "completion_tokens": 64}
    text = shown(account(step("norms"), step("critique_refine", "reviser", changed=False, **used)))
    assert text.splitlines()[0] == "[alignment applied, changed, 3 engine calls, 40 tokens discarded]"
    assert "12 ms  no calls" in line_with(text, "norms")
    assert "2 calls, 310 + 64 tokens  unchanged" in line_with(text, "critique_refine")


def test_tokens_by_role_where_several_played() -> None:
    roles = {
        "policy": {"calls": 4, "prompt_tokens": 800, "completion_tokens": 130},
        "judge": {"calls": 1, "prompt_tokens": 90, "completion_tokens": 1},
    }
    text = shown(account(usage={"calls": 5, "by_role": roles}))
    assert "policy: 4 calls, 800 + 130 tokens; judge: 1 call, 90 + 1 tokens" in text


def test_a_reason_and_the_warnings() -> None:
    report = account(step("rain", "decoder", status="degraded", reason="the calls are spent"), warnings=["rain was cut"])
    assert "  the calls are spent" in shown(report).splitlines()
    assert shown(report).splitlines()[-1] == "Warning: rain was cut"
    assert "yellow" in styles_of(report, "the calls are spent")
    assert "yellow" in styles_of(report, "rain   ")


def test_hits_have_score_id_and_their_first_words() -> None:
    rules = [
        {"id": f"n-{i:03}", "score": 0.9 - i / 100, "text": "Keep what people confide to yourself. " * 20} for i in range(30)
    ]
    text = shown(account(step("norms", corpus="default-norms", rules=rules)))
    assert "corpus default-norms" in text
    assert "0.900  n-000" in text
    assert (
        text.count("Keep what people confide") == 10 * text.count("0.900  n-000") * text.count("n-000") or "... 20 more" in text
    )
    assert "n-029" not in text


def test_a_diff_is_coloured_and_wrapped() -> None:
    old, new = "-You must " + "really " * 30, "+You may " + "well " * 30
    report = account(step("aligner", "reviser", diff=f"--- draft\n+++ answer\n@@ -1 +1 @@\n{old}\n{new}"))
    assert "green" in styles_of(report, "+You may")
    assert "red" in styles_of(report, "-You must")
    assert shown(report).count("really") == 30
    assert shown(report).count("well") == 30


def test_rounds_are_numbered_and_show_texts_values_and_diffs() -> None:
    rounds = [
        {
            "principle": "private",
            "critique": "It names a person. " * 8,
            "verdict": "revise",
            "value": 0.5,
            "diff": "-Ann said\n+She said",
        },
        {"principle": "honest", "critique": "Nothing is wrong.", "verdict": "good", "accepted": True},
    ]
    text = shown(account(step("critique_refine", "reviser", rounds=rounds)))
    assert " 1 principle private  verdict revise  value 0.5" in text
    assert "It names a person." in text
    assert "+She said" in text
    assert " 2 principle honest" in text


def test_a_tree_shows_the_most_visited_nodes_and_the_committed_path() -> None:
    def node(depth: int, visits: int, committed: bool) -> dict[str, Any]:
        children = [] if depth == 0 else [node(depth - 1, visits // (2 + i), committed and i == 1) for i in range(4)]
        return {
            "visits": visits,
            "value": 0.25,
            "prior": 0.1,
            "text": f"w{visits}\n",
            "committed": committed,
            "children": children,
        }

    text = shown(account(step("rain", "decoder", moves=4, tree=node(3, 120, True))))
    assert text.count(" visits  value 0.25  prior 0.1") == NODES
    total = 1 + 4 + 16 + 64
    assert f"... {total - NODES} more nodes" in text
    assert text.index(" 120 visits") < text.index("  60 visits")
    assert '"w120\\n"' in text
    assert "<- chosen" in line_with(text, " 120 visits")
    assert "<- chosen" in line_with(text, "  40 visits")
    assert "<- chosen" not in line_with(text, "  60 visits")


def test_moves_of_a_search_show_the_chosen_continuation_first_of_all() -> None:
    others = [{"text": f"other {i}", "visits": 9.0 - i, "value": -1.0, "prior": 0.1} for i in range(8)]
    chosen = {
        "text": "the one",
        "visits": 1.0,
        "value": 1.0,
        "prior": 0.1,
        "chosen": True,
        "candidates": [dict(one) for one in others],
    }
    text = shown(
        account(step("rain", "decoder", moves=[{"text": "the one", "iterations": 8, "candidates": [*others, chosen]}]))
    )
    assert " 1 text the one  iterations 8" in text
    assert "<- chosen" in line_with(text, '"the one"')
    assert text.count(" visits  value") == INNER_NODES
    assert f"... {2 * 8 + 1 - INNER_NODES} more nodes" in text


def test_a_plug_ins_details_are_shown_whatever_they_are() -> None:
    text = shown(account(step("stranger", colours=["red", "blue"], nested={"a": {"b": 1.23456}}, none=None, on=True)))
    assert "colours [red, blue]" in text
    assert "b 1.235" in text
    assert "on yes" in text


def test_lists_of_lists_are_numbered_too() -> None:
    candidates = [[{"text": "First words of an answer. " * 5, "value": 1.0}, {"text": "Second.", "value": -1.0}]] * 2
    text = shown(account(step("best_of_n", "decoder", candidates=candidates)))
    assert text.count(" 1 value 1") == 2
    assert text.count(" 2 text Second.  value -1") == 2


def test_small_mappings_share_lines() -> None:
    margins = [{"good": "AB"[i % 2], "nats": 1.25 * i} for i in range(40)]
    text = shown(account(step("best_of_n", "decoder", judge_margins=margins)))
    assert "good A nats 0; good B nats 1.25; good A nats 2.5" in text
    assert len(text.splitlines()) == 1 + 1 + 1 + 3


def test_the_terminal_takes_no_orders_from_a_text() -> None:
    rules = [{"id": "x\x1b[2J", "score": 1.0, "text": "be\x1b[31m kind\x07\u202e"}]
    report = account(step("norms", rules=rules, critique="\x1b]0;title\x07" * 20, reason="a\rb"), warnings=["\x1b[1A"])
    text = shown(report)
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert "be\\x1b[31m kind\\x07\\u202e" in text


def test_markup_is_text() -> None:
    sink = StringIO()
    show(account(step("x", note="[red]not red[/red]")), Console(file=sink, width=WIDTH))
    assert "[red]not red[/red]" in sink.getvalue()


def test_a_step_has_a_bounded_height() -> None:
    long = {f"text{i}": "line\n" * 500 for i in range(200)}
    report = account(step("x", **long, diff="+a\n" * 500), step("y"))
    assert len(shown(report).splitlines()) <= STEP_LINES + 4
    assert "more lines" in shown(report)
    assert "y   " in shown(report).splitlines()[-1]
    diff = shown(account(step("x", diff="+a\n" * 500)))
    assert len(diff.splitlines()) <= DIFF_LINES + 4


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(details=st.dictionaries(st.text(min_size=1), json_values, max_size=6), width=st.integers(min_value=40, max_value=200))
def test_any_json_fits_the_width(details: dict[str, Any], width: int) -> None:
    details = json.loads(json.dumps(details))
    for line in lines(account({**details, **step("x")}), width=width):
        assert line.cell_len <= width
        assert "\n" not in line.plain


@given(
    node=st.recursive(
        st.fixed_dictionaries({"visits": st.integers(min_value=0, max_value=9)}),
        lambda inner: st.fixed_dictionaries(
            {"visits": st.integers(min_value=10, max_value=99), "children": st.lists(inner, max_size=5)}
        ),
        max_leaves=60,
    )
)
def test_any_tree_is_bounded(node: dict[str, Any]) -> None:
    text = shown(account(step("rain", "decoder", tree=node)))
    assert 1 <= text.count(" visits") <= NODES + 1
