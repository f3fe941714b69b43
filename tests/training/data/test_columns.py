"""The ecosystem's columns, each form to the row it means."""

from typing import Any

import pytest

from trimtab.training.data.columns import row_of
from trimtab.training.data.rows import Preference, Response, Row, Turn

ASK, WIRE_ASK = (Turn("user", "Q"),), [{"role": "user", "content": "Q"}]


def said(text: str) -> list[dict[str, str]]:
    """An assistant turn as JSON."""
    return [{"role": "assistant", "content": text}]


def pair(prompt: Any, a: Any = "good", b: Any = "bad", p: float = 1.0, margin: float = 0.0) -> Row:
    """The row of a pair."""
    return Row("7", prompt, (Response(a, kind="chosen"), Response(b, kind="rejected")), (Preference(0, 1, p, margin),), 7)


def ranked(prompt: Any, *scores: float) -> Row:
    """The row of the answers a, b, ... with scores."""
    return Row("7", prompt, tuple(Response("abc"[i], score=score, kind="sample") for i, score in enumerate(scores)), line=7)


HH = "\n\nHuman: Q\n\nAssistant: hm\n\nHuman: R\n\nAssistant:"
HH_TURNS = (Turn("user", "Q"), Turn("assistant", "hm"), Turn("user", "R"))
TURNS = (Turn("assistant", "good"),)
GOLD = Row("7", ASK, (Response("A", kind="gold"),), line=7)
EDIT = Row("7", ASK, (Response("d", kind="original"), Response("e", kind="revision", feedback="f")), line=7)

FORMS: dict[str, tuple[dict[str, Any], Row]] = {
    "prompt and completion": ({"prompt": "Q", "completion": "A"}, Row("7", "Q", (Response("A", kind="gold"),), line=7)),
    "conversational": (
        {"prompt": WIRE_ASK, "completion": said("A")},
        Row("7", ASK, (Response((Turn("assistant", "A"),), kind="gold"),), line=7),
    ),
    "columns without a value": ({"prompt": WIRE_ASK, "completion": "A", "chosen": None, "rejected": None}, GOLD),
    "messages": ({"messages": [*WIRE_ASK, *said("A")]}, GOLD),
    "messages without an answer": ({"messages": WIRE_ASK}, Row("7", ASK, line=7)),
    "labelled turns": (
        {"messages": [*WIRE_ASK, *said("A")], "label": 0},
        Row("7", ASK, (Response("A", label=False, kind="sample"),), line=7),
    ),
    "text": ({"text": "All of it."}, Row("7", "", (Response("All of it.", kind="gold"),), line=7)),
    "prompt only": ({"prompt": "Q"}, Row("7", "Q", line=7)),
    "unpaired": (
        {"prompt": "Q", "completion": "A", "label": True},
        Row("7", "Q", (Response("A", label=True, kind="sample"),), line=7),
    ),
    "score": (
        {"prompt": "Q", "completion": "A", "score": 2},
        Row("7", "Q", (Response("A", score=2.0, kind="sample"),), line=7),
    ),
    "explicit pair": ({"prompt": "Q", "chosen": "good", "rejected": "bad"}, pair("Q")),
    "margin and soft": (
        {"prompt": "Q", "chosen": "good", "rejected": "bad", "margin": 2, "preference": 0.8},
        pair("Q", p=0.8, margin=2.0),
    ),
    "explicit conversational": (
        {"prompt": WIRE_ASK, "chosen": said("good"), "rejected": said("bad")},
        pair(ASK, TURNS, (Turn("assistant", "bad"),)),
    ),
    "implicit": ({"chosen": WIRE_ASK + said("good"), "rejected": WIRE_ASK + said("bad")}, pair(ASK)),
    "implicit with the prompt repeated": (
        {"prompt": "Q", "chosen": WIRE_ASK + said("good"), "rejected": WIRE_ASK + said("bad")},
        pair(ASK),
    ),
    "implicit with a shared answer": (
        # the longest common prefix ends with an assistant's turn; the prompt ends with the user's before it
        {"chosen": WIRE_ASK + said("x") + said("good"), "rejected": WIRE_ASK + said("x") + said("bad")},
        pair(
            ASK,
            (Turn("assistant", "x"), Turn("assistant", "good")),
            (Turn("assistant", "x"), Turn("assistant", "bad")),
        ),
    ),
    "hh": ({"chosen": f"{HH} good", "rejected": f"{HH} bad"}, pair(HH_TURNS)),
    "hh explicit": ({"prompt": HH, "chosen": " good", "rejected": " bad"}, pair(HH_TURNS)),
    "rrhf": ({"query": "Q", "responses": ["a", "b"], "scores": [1, 2.5]}, ranked("Q", 1.0, 2.5)),
    "rrhf of hh": ({"query": HH, "responses": [" a", " b"], "scores": [1, 2]}, ranked(HH_TURNS, 1.0, 2.0)),
    "pro": (
        {"prefix": ["<|prompter|>Q<|assistant|>"] * 2, "suffix": ["a", "b"], "reward": [0.5, 0.1], "sft_index": 0},
        ranked(ASK, 0.5, 0.1),
    ),
    "ranked": ({"prompt": WIRE_ASK, "completions": ["a", "b", "c"], "scores": [3, 2, 2]}, ranked(ASK, 3.0, 2.0, 2.0)),
    "aligner": ({"question": "Q", "answer": "d", "correction": "e", "feedback": "f"}, EDIT),
    "draft": ({"prompt": WIRE_ASK, "draft": "d", "correction": "e", "feedback": "f"}, EDIT),
    "our own": (
        {
            "id": 9,
            "prompt": "Q",
            "responses": [{"content": "a", "score": 1, "kind": "gold", "gen": {"model": "m"}}, {"content": "b", "weight": 0.5}],
            "pref": [{"a": 0, "b": 1, "p": 0.7}],
            "weight": 2,
            "meta": {"source": "hand"},
        },
        Row(
            "9",
            "Q",
            (Response("a", score=1.0, kind="gold", weight=2.0), Response("b", weight=1.0)),
            (Preference(0, 1, 0.7),),
            7,
        ),
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_form(name: str) -> None:
    record, row = FORMS[name]
    assert row_of(record, 7) == row


def test_scores_of_a_pair() -> None:
    by_list = row_of({"prompt": "Q", "chosen": "a", "rejected": "b", "scores": [4, 1]}, 1)
    by_columns = row_of({"prompt": "Q", "chosen": "a", "rejected": "b", "score_chosen": 4, "score_rejected": 1}, 1)
    assert [response.score for response in by_list.responses] == [response.score for response in by_columns.responses] == [4, 1]
