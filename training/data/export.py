"""Rows as columns of TRL, and how many lose something on the way."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from trimtab.training.data.choices import best, labels_of, preferences_of
from trimtab.training.data.rows import Response, Row, Text, Turn
from trimtab.training.data.tokens import Unusable
from trimtab.training.data.unified import record_of, wire

Columns = Literal["preference", "prompt_completion", "unpaired", "prompt_only"]


@dataclass(frozen=True, slots=True)
class Exported:
    """Records of TRL's columns."""

    records: tuple[dict[str, Any], ...]
    lossy: int
    """Rows of which these columns do not hold all: scores, ranks, soft preferences, weights, feedback, further answers."""
    left_out: int = 0
    """Rows that these columns cannot hold at all."""


def to_trl(rows: Iterable[Row], columns: Columns) -> Exported:
    """The rows in TRL's columns; conversational where their prompts are."""
    export = _EXPORTS[columns]
    records: list[dict[str, Any]] = []
    lossy = left_out = 0
    for row in rows:
        try:
            made, whole = export(row)
        except Unusable:
            left_out += 1
        else:
            records += made
            lossy += not whole
    return Exported(tuple(records), lossy, left_out)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """The rows as JSONL of our own records, from which they are read back unchanged but for their lines."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(record_of(row), ensure_ascii=False) + "\n")


_Export = Callable[[Row], tuple[Sequence[dict[str, Any]], bool]]
"""A row's records, and whether they hold all of it."""


def _preference(row: Row) -> tuple[Sequence[dict[str, Any]], bool]:
    found = preferences_of(row)
    if not found:
        raise Unusable("no order")
    records = [
        {
            "prompt": wire(row.prompt),
            "chosen": _answer(row.prompt, row.responses[one.a]),
            "rejected": _answer(row.prompt, row.responses[one.b]),
        }
        | ({"margin": one.margin} if one.margin else {})
        for one in found
    ]
    first, second = (row.responses[place] for place in (found[0].a, found[0].b))
    plain = len(row.responses) == 2 and found[0].p == 1 and not _scored(first) and not _scored(second)
    return records, plain and {first.label, second.label} == {None}


def _prompt_completion(row: Row) -> tuple[Sequence[dict[str, Any]], bool]:
    chosen = best(row)
    records = [{"prompt": wire(row.prompt), "completion": _answer(row.prompt, one)} for one in chosen]
    return records, len(row.responses) == 1 and not _scored(row.responses[0]) and row.responses[0].label is None


def _unpaired(row: Row) -> tuple[Sequence[dict[str, Any]], bool]:
    labelled = labels_of(row)
    if not labelled:
        raise Unusable("no labels")
    records = [
        {"prompt": wire(row.prompt), "completion": _answer(row.prompt, row.responses[place]), "label": label}
        for place, label in labelled.items()
    ]
    whole = len(row.responses) == 1 and not _scored(row.responses[0])
    return records, whole


def _prompt_only(row: Row) -> tuple[Sequence[dict[str, Any]], bool]:
    return [{"prompt": wire(row.prompt)}], not row.responses


def _answer(prompt: Text, response: Response) -> str | list[dict[str, str]]:
    content = response.content
    if isinstance(prompt, tuple) and isinstance(content, str):
        return wire((Turn("assistant", content),))
    return wire(content)


def _scored(response: Response) -> bool:
    held = (response.score, response.rank, response.feedback)
    return response.weight != 1 or any(value is not None for value in held)


_EXPORTS: Final[Mapping[Columns, _Export]] = {
    "preference": _preference,
    "prompt_completion": _prompt_completion,
    "unpaired": _unpaired,
    "prompt_only": _prompt_only,
}
