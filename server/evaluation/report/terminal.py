"""The results as text for a terminal: a block a column of their table, so that any number of scorers and alignments fits."""

import textwrap

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.report.facts import heading, sentence
from trimtab.server.evaluation.report.tables import Table, results
from trimtab.server.evaluation.summary import Summary

WIDTH = 100
"""Columns of the terminal that sentences are broken for."""
NAME_CHARS = 48
"""Of an alignment's name."""


def render_text(log: Log, summary: Summary) -> str:
    """What was run, each scorer's mean, interval and difference by alignment, what it cost, and how to read it."""
    shown = results(log, summary)
    blocks = "\n\n".join(_block(shown, place) for place in range(1, len(shown.head)))
    said = (textwrap.fill(text, WIDTH) for text in (heading(log), sentence(log, summary), shown.note))
    head, asked, note = said
    return f"{head}\n{asked}\n\n{blocks}\n\n{note}"


def _block(shown: Table, place: int) -> str:
    """A column under its head: a line a row, what stands in it side by side."""
    rows = [(_short(row[0].lines[0]), *row[place].lines) for row in shown.rows]
    widths = [max(len(part) for row in rows for part in row[at : at + 1]) for at in range(max(map(len, rows)))]
    lines = ("  ".join(part.ljust(width) for part, width in zip(row, widths, strict=False)).rstrip() for row in rows)
    return "\n  ".join([" · ".join(shown.head[place].lines), *lines])


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"
