"""Options of a question and which of them are right, in the ways that data sets say it."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from string import ascii_uppercase
from typing import Any

from trimtab.server.evaluation.data.fields import BadRecord, Record, a_list, a_string, an_object, named, strings

TARGETS = ("mc1_targets", "mc2_targets")
"""Columns that hold options and labels; the first that is there counts: with one right option, with several."""


def options_of(record: Record) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The options and the places of the right ones. Nothing where the record has no options."""
    if "choices" in record:
        return _choices(record)
    for column in TARGETS:
        if column in record:
            return targets(record[column], column)
    if "answer" not in record:
        return (), ()
    if lettered := _lettered(record):
        return _choices({**record, "choices": lettered})
    raise BadRecord(
        "answer names one of several options, and there are none (choices, or a column each: A, B, ...); "
        "a reference answer is called good: --columns good=answer"
    )


def _lettered(record: Record) -> list[Any]:
    """What the columns A, B, ... hold, as far as they go; the answer is then a place, letter or text of these."""
    return [record[letter] for letter in takewhile(record.__contains__, ascii_uppercase)]


def targets(value: Any, column: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Of `{"choices": [...], "labels": [0, 1, ...]}`, or `{option: 0 or 1}`."""
    found = an_object(value, column)
    texts, labels = (
        (found["choices"], found["labels"]) if set(found) == {"choices", "labels"} else (list(found), list(found.values()))
    )
    options = _distinct(strings(a_list(texts, column), column), column)
    if len(a_list(labels, column)) != len(options):
        raise BadRecord(f"{column} holds {len(labels)} labels for {len(options)} options")
    correct = tuple(place for place, label in enumerate(labels) if label == 1)
    if not correct:
        raise BadRecord(f"{column} marks no option as right")
    return options, correct


def _choices(record: Record) -> tuple[tuple[str, ...], tuple[int, ...]]:
    value = record["choices"]
    labels: Sequence[Any] = ()
    if isinstance(value, Mapping):
        if not {"text", "label"} <= value.keys():
            raise BadRecord("choices must be a list, or an object with the lists text and label")
        value, labels = value["text"], a_list(value["label"], "choices.label")
    options = _distinct(strings(a_list(value, "choices"), "choices"), "choices")
    if "answer" not in record:
        raise BadRecord("choices need the column answer: the place (from 0), letter or text of the right one")
    said = record["answer"]
    answers = said if isinstance(said, list | tuple) else [said]
    if not answers:
        raise BadRecord("answer is an empty list")
    return options, tuple(sorted({_place(answer, options, labels) for answer in answers}))


def _distinct(options: tuple[str, ...], column: str) -> tuple[str, ...]:
    if len(options) < 2:
        raise BadRecord(f"{column} holds {len(options)} option; at least 2 needed")
    if len(set(options)) < len(options):
        raise BadRecord(f"{column} holds an option twice")
    return options


def _place(answer: Any, options: Sequence[str], labels: Sequence[Any]) -> int:
    """The place of an answer: by its label in the data, its text, its place from 0, its letter; the first that fits."""
    if answer in labels:
        return list(labels).index(answer)
    if isinstance(answer, str):
        return _place_of_text(a_string(answer, "answer"), options)
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise BadRecord(f"answer must be a place, letter or text of an option, not {named(answer)}")
    return _inside(answer, options)


def _place_of_text(answer: str, options: Sequence[str]) -> int:
    if answer in options:
        return options.index(answer)
    if answer.strip().isascii() and answer.strip().isdigit():
        return _inside(int(answer), options)
    letter = answer.strip().rstrip(".)").upper()
    if len(letter) == 1 and letter in ascii_uppercase:
        return _inside(ascii_uppercase.index(letter), options)
    raise BadRecord(f"answer {answer[:80]!r} is none of the choices, and no letter or place of one")


def _inside(place: int, options: Sequence[str]) -> int:
    if not 0 <= place < len(options):
        raise BadRecord(f"answer names option {place} (from 0), but there are {len(options)}")
    return place
