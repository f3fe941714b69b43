"""A comparison of two logs as Markdown and as JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from trimtab.server.evaluation.comparing import Compared, Comparison
from trimtab.server.evaluation.report.json import finite
from trimtab.server.evaluation.report.markdown import escaped, table
from trimtab.server.evaluation.report.tables import Cell, Table, cell, change_cells
from trimtab.server.evaluation.report.wording import decimals_of, number, plain

VERSION = 1
"""Of the JSON: `version` and the fields of `Comparison`."""


def comparison_markdown(comparison: Comparison) -> str:
    """What differs, what changed, what to mind."""
    parts = [
        _lead(comparison),
        *_differing(comparison),
        table(_rows(comparison)),
        *(f"- {escaped(one)}" for one in comparison.notes),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def comparison_json(comparison: Comparison) -> str:
    """All of it; a number that is not finite is null."""
    return json.dumps(finite({"version": VERSION, **asdict(comparison)}), indent=1, allow_nan=False)


def _lead(comparison: Comparison) -> str:
    only = ((comparison.only_first, "first"), (comparison.only_second, "second"))
    apart = "".join(f"; {count:,} only in the {which} log do not count" for count, which in only if count)
    return f"{comparison.shared:,} samples are in both logs{apart}.\n"


def _differing(comparison: Comparison) -> Iterator[str]:
    if not comparison.differing:
        yield "The headers say the same of model, data, seed, sampling and versions.\n"
        return
    head = tuple(map(cell, ("Key", "First", "Second")))
    rows = tuple((cell(plain(one.key)), cell(_value(one.first)), cell(_value(one.second))) for one in comparison.differing)
    yield table(Table("What differs", head, rows))


def _value(value: object) -> str:
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _rows(comparison: Comparison) -> Table:
    head = ("Scorer", "First", "Second", "Difference", "Interval", "Pairs", "p", "Adjusted p", "Verdict")
    note = (
        f"The second less the first, with {comparison.level:.0%} intervals; adjusted p is Holm's over "
        f"{len(comparison.rows)} comparisons, and the verdict goes by it."
    )
    return Table("What changed", tuple(map(cell, head)), tuple(map(_row, comparison.rows)), note)


def _row(one: Compared) -> tuple[Cell, ...]:
    digits = decimals_of(one.change.low, one.change.high)
    means = (
        cell(plain(one.first), number(one.mean_first, digits=digits)),
        cell(plain(one.second), number(one.mean_second, digits=digits)),
    )
    return cell(plain(one.title or one.scorer)), *means, *change_cells(one.change)
