"""What the terminal shows of full traces recorded from each strategy on the scripted engine (`traces.json`)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trimtab.cli.trace_view import STEP_LINES, lines

RECORDED: Mapping[str, Any] = json.loads((Path(__file__).parent / "traces.json").read_text(encoding="utf-8"))
WIDTH = 110


def shown(kind: str) -> str:
    return "\n".join(line.plain for line in lines(RECORDED[kind], width=WIDTH))


def own(kind: str) -> Mapping[str, Any]:
    """The record of the strategy's own step."""
    (step,) = [step for step in RECORDED[kind]["steps"] if step["strategy"] == kind]
    return dict(step)


def coloured(kind: str, style: str) -> list[str]:
    return [line.plain.strip() for line in lines(RECORDED[kind], width=WIDTH) if str(line.style) == style]


@pytest.mark.parametrize("kind", list(RECORDED))
def test_every_step_is_shown_within_bounds(kind: str) -> None:
    text = shown(kind)
    for step in RECORDED[kind]["steps"]:
        assert f"\n{step['strategy']:<16} {step['role']:<9}{step['status']}" in text
    assert len(text.splitlines()) <= 4 + STEP_LINES * len(RECORDED[kind]["steps"])
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert '{"' not in text


def test_norms_are_cited_with_scores() -> None:
    rules = own("norms")["rules"]
    assert rules
    for rule in rules:
        assert f"{rule['score']:.3f}  {rule['id']}" in shown("norms")


def test_demonstrations_are_cited_with_scores_and_told() -> None:
    step = own("demonstrations")
    for one in step["demonstrations"]:
        assert f"{one['score']:.3f}  {one['id']}" in shown("demonstrations")
    assert step["texts"][0]["prompt"][:30] in shown("demonstrations")


def test_candidates_have_their_values() -> None:
    (candidates,) = own("best_of_n")["candidates"]
    for number, one in enumerate(candidates, 1):
        assert f"{number} text {one['text']}  value {one['value']:.4g}" in shown("best_of_n")


def test_each_move_of_a_search_shows_what_was_chosen() -> None:
    step = own("rain")
    assert shown("rain").count("<- chosen") == step["moves"] == len(step["tree"])
    assert f"rewinds {step['rewinds']}" in shown("rain")


def test_rounds_show_criticism_verdict_and_difference() -> None:
    text, rounds = shown("critique_refine"), own("critique_refine")["rounds"]
    assert text.count("verdict") == len(rounds) == 2
    for one in rounds:
        assert one["critique"] in text
        assert [line for line in one["diff"].splitlines() if line.startswith("+")][-1] in coloured("critique_refine", "green")
        assert [line for line in one["diff"].splitlines() if line.startswith("-")][-1] in coloured("critique_refine", "red")


def test_an_aligners_edits_are_a_difference() -> None:
    assert any(line.startswith("+") for line in coloured("aligner", "green"))
    assert any(line.startswith("-") for line in coloured("aligner", "red"))
