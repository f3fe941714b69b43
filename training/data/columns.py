"""From a record's columns to a row: the forms of the ecosystem, each recognised by the columns it has.

responses             our own: prompt, responses [{content, score, ...}], pref [{a, b, p, margin}]
query, responses      RRHF and Stable Alignment: scores
prefix, suffix        PRO: reward
question, answer, correction; prompt, draft, correction      Aligner: feedback
chosen, rejected      TRL: prompt explicit or shared at the beginning, HH strings; margin, preference or p, scores
prompt, completions   ranked lists: scores
prompt, completion    TRL: label, score
messages; text        TRL: label, score (messages)
prompt                TRL: no answers
A column without a value counts as missing. `id` and `weight` may stand in every form.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from trimtab.training.data import released, unified
from trimtab.training.data.fields import Record, a_label, a_number, a_string, a_text, as_prompt, numbers, texts, turns_of
from trimtab.training.data.pairs import pair_row
from trimtab.training.data.rows import Response, Row
from trimtab.training.data.validation import BadRecord, validate

Reader = Callable[[Record], Row]


def row_of(record: Mapping[str, Any], line: int) -> Row:
    """The row of a record. Raises BadRecord with the reason where it makes none."""
    present = {column: value for column, value in record.items() if value is not None}
    row = _reader(present)(present)
    name = present.get("id", line)
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise BadRecord("id must be a string or a whole number")
    weight = a_number(present.get("weight", 1.0), "weight")
    responses = tuple(replace(response, weight=response.weight * weight) for response in row.responses)
    return validate(replace(row, id=str(name), responses=responses, line=line))


def _reader(record: Record) -> Reader:
    for columns, reader in FORMS:
        if columns <= record.keys():
            return reader
    found = ", ".join(sorted(record)) or "none"
    raise BadRecord(f"no known form; its columns are: {found}. Known forms: {'; '.join(', '.join(c) for c in _LISTED)}")


def _ranked(record: Record) -> Row:
    completions = texts(record, "completions")
    if "labels" in record:
        raise BadRecord("stepwise rows (completions with labels) are not trained on")
    if "scores" not in record:
        raise BadRecord("scores is missing: a list of completions needs the score of each")
    scores = numbers(record, "scores", len(completions))
    return Row("", as_prompt(a_text(record["prompt"], "prompt")), released.scored(completions, scores))


def _completion(record: Record) -> Row:
    prompt = as_prompt(a_text(record["prompt"], "prompt"))
    return Row("", prompt, (_judged(Response(a_text(record["completion"], "completion")), record),))


def _messages(record: Record) -> Row:
    """A conversation: its last assistant turn is the response; one that ends otherwise is a prompt."""
    turns = turns_of(record["messages"], "messages")
    if not turns or turns[-1].role != "assistant":
        return Row("", turns)
    return Row("", turns[:-1], (_judged(Response(turns[-1].content), record),))


def _text(record: Record) -> Row:
    return Row("", "", (Response(a_string(record, "text"), kind="gold"),))


def _prompt(record: Record) -> Row:
    return Row("", as_prompt(a_text(record["prompt"], "prompt")))


def _judged(response: Response, record: Record) -> Response:
    """With the label and score of its record; the answer to learn where it has neither."""
    score = next((a_number(record[column], column) for column in ("score", "reward") if column in record), None)
    label = a_label(record["label"], "label") if "label" in record else None
    return replace(response, score=score, label=label, kind="gold" if score is None and label is None else "sample")


FORMS: Final[tuple[tuple[frozenset[str], Reader], ...]] = (
    (frozenset({"query", "responses"}), released.rrhf_row),
    (frozenset({"prompt", "responses"}), unified.unified_row),
    (frozenset({"prefix", "suffix"}), released.pro_row),
    (frozenset({"question", "answer", "correction"}), released.aligner_row),
    (frozenset({"prompt", "draft", "correction"}), released.draft_row),
    (frozenset({"chosen", "rejected"}), pair_row),
    (frozenset({"prompt", "completions"}), _ranked),
    (frozenset({"prompt", "completion"}), _completion),
    (frozenset({"messages"}), _messages),
    (frozenset({"prompt"}), _prompt),
    (frozenset({"text"}), _text),
)
_LISTED: Final = tuple(sorted(columns, reverse=True) for columns, _ in FORMS)
