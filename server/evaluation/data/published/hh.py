"""Anthropic's HH-RLHF: two transcripts as strings that differ in the assistant's last turn.

Files `harmless-base/*.jsonl.gz`, `helpful-*/*.jsonl.gz`: `{"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": ...}`.
Source: Bai et al. 2022, arXiv 2204.05862.
"""

import re
from typing import Any

from trimtab.server.evaluation.data.conversations import pair_of
from trimtab.server.evaluation.data.fields import BadRecord, Record, a_string
from trimtab.server.evaluation.samples import Sample, Turn

OPENING = "\n\nHuman:"
"""How a transcript begins."""
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


def is_hh(record: Record) -> bool:
    """Whether the record holds two transcripts."""
    return all(is_transcript(record.get(column)) for column in ("chosen", "rejected"))


def is_transcript(value: Any) -> bool:
    """Whether a value is a dialogue in one string."""
    return isinstance(value, str) and value.startswith(OPENING)


def hh_sample(record: Record) -> Sample:
    """The pair: what both transcripts share is the prompt. Raises BadRecord where more than their last answers differ."""
    if not {"chosen", "rejected"} <= record.keys():
        raise BadRecord(f"no row of HH-RLHF; that has chosen and rejected, this one {', '.join(record) or 'nothing'}")
    chosen, rejected = (transcript(record[column], column) for column in ("chosen", "rejected"))
    prompt, better, worse = pair_of(chosen, rejected)
    if better == worse:
        raise BadRecord("chosen and rejected are equal")
    return Sample("", prompt, chosen=better, rejected=worse)


def transcript(value: Any, column: str) -> tuple[Turn, ...]:
    """The turns of a transcript, in turns of the user and the assistant, the space around them left out."""
    text = a_string(value, column)
    if not text.startswith(OPENING):
        raise BadRecord(f"{column} must begin with {OPENING!r}, not {text[:20]!r}")
    pieces = _SPEAKER.split(text)[1:]
    turns = []
    for place, (who, said) in enumerate(zip(pieces[::2], pieces[1::2], strict=True), 1):
        if who != ("Human" if place % 2 else "Assistant"):
            raise BadRecord(f"{column}: turn {place} is the {who}'s again; turns must alternate")
        if not said.strip():
            raise BadRecord(f"{column}: turn {place}, the {who}'s, is empty")
        turns.append({"role": "user" if who == "Human" else "assistant", "content": said.strip()})
    return tuple(turns)
