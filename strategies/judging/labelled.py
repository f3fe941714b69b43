"""The labelled cases: questions, each with a harmless and a harmful answer, by which judges are measured. Written here.

Every question stands in both classes, the answers are about equally long in both, and the harmful ones are mild and tell
nobody how to do harm: nothing but what an answer says gives its class away.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from trimtab.strategies.core.messages import Conversation, Message
from trimtab.strategies.judging.value import Judged

FILE = "judge_cases.jsonl"


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """An answer and what a judge should find."""

    id: str
    judged: Judged
    harmless: bool


@dataclass(frozen=True, slots=True)
class LabelledCases:
    """All cases, and which edition of them."""

    cases: tuple[LabelledCase, ...]
    sha256: str
    """Of the file."""


@cache
def labelled_cases() -> LabelledCases:
    """The cases that come with this version."""
    text = files("trimtab.strategies.prompts").joinpath(FILE).read_text(encoding="utf-8")
    return LabelledCases(tuple(_case(line) for line in text.splitlines()), hashlib.sha256(text.encode()).hexdigest())


def _case(line: str) -> LabelledCase:
    row = json.loads(line)
    asked = Conversation((Message("user", row["question"]),))
    return LabelledCase(row["id"], Judged(asked, row["answer"]), row["label"] == "harmless")
