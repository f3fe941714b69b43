"""Columns that are called otherwise than the forms call them: `prompt=question` reads the column question as the prompt."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.server.evaluation.data.fields import divided
from trimtab.server.evaluation.data.sources import DatasetError

SEVERAL = ("good", "bad", "references", "correct_answers", "incorrect_answers", "choices")
"""Columns whose cell in a CSV file holds several values."""
KNOWN = (
    *("id", "prompt", "messages", "system", "category", "refuse", "extra"),
    *("chosen", "rejected", "best", *SEVERAL, "answer", "mc1_targets", "mc2_targets"),
)
"""Columns that the forms know."""
LIKELY = ("question", "instruction", "input", "query", "text", "user")
"""What a prompt is often called."""


def check_targets(columns: Mapping[str, str]) -> None:
    """Raises DatasetError for a column that no form knows, with the nearest one."""
    for target in columns:
        if target not in KNOWN:
            near = _nearest(target, KNOWN)
            raise DatasetError(
                f"--columns {target}={columns[target]}: no form has the column {target!r}{near}; {', '.join(KNOWN)}"
            )


def check_sources(columns: Mapping[str, str], found: Iterable[str], source: str) -> None:
    """Raises DatasetError for a mapped column that the data do not have, with those that there are and the nearest one."""
    there = list(found)
    for target, own in columns.items():
        if own not in there:
            raise DatasetError(
                f"{source}: --columns {target}={own}: there is no column {own!r}{_nearest(own, there)}; "
                f"its columns are {', '.join(there) or 'none'}"
            )


def renamed(record: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The record in the forms' columns. A column that is mapped is no longer there under its own name; no value = not there."""
    taken = {*columns, *columns.values()}
    kept = {column: value for column, value in record.items() if column not in taken}
    mapped = {target: record.get(own) for target, own in columns.items()}
    return {column: value for column, value in {**kept, **mapped}.items() if value is not None}


def typed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a CSV file with its cells of several values divided: at ";", or as the JSON list that they are."""
    return {column: divided(value) if column in SEVERAL else value for column, value in record.items()}


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (meant: {near[0]}?)" if near else ""
