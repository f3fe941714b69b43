"""The report as Markdown, for a README: the tables of the page, and its pictures as files beside it."""

import re
from collections.abc import Iterator, Mapping

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.report.facts import facts, heading, sentence
from trimtab.server.evaluation.report.tables import Cell, Table, all_tables, results
from trimtab.server.evaluation.report.wording import plain
from trimtab.server.evaluation.summary import Summary

_ALTERNATIVES = {"report-benefit.svg": "Benefit against cost", "report-categories.svg": "Means by category"}
_SPECIAL = re.compile(r"([\\`*_\[\]|~#$])")


def render_markdown(log: Log, summary: Summary, pictures: Mapping[str, str]) -> str:
    """The whole text. pictures: names of files beside it; what is drawn in them is not looked at."""
    shown = (f"![{_ALTERNATIVES.get(name, 'A plot')}]({name})\n" for name in pictures)
    parts = (*_head(log, summary), table(results(log, summary)), *shown, *map(table, all_tables(log, summary)), *_said(log))
    return "\n".join(parts)


def table(one: Table) -> str:
    """A table with its title and note; lines of a cell are broken."""
    rows = [_row(one.head), "|" + " --- |" * len(one.head), *map(_row, one.rows)]
    return "\n".join([f"## {escaped(one.title)}\n", *([escaped(one.note) + "\n"] if one.note else []), *rows]) + "\n"


def escaped(text: str) -> str:
    """The text as Markdown that shows just this text, in one line."""
    safe = _SPECIAL.sub(r"\\\1", plain(text, most=1000))
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _row(cells: tuple[Cell, ...]) -> str:
    return f"| {' | '.join('<br>'.join(map(escaped, one.lines)) for one in cells)} |"


def _head(log: Log, summary: Summary) -> Iterator[str]:
    yield f"# {escaped(heading(log))}\n"
    yield escaped(sentence(log, summary)) + "\n"
    yield from (f"- {escaped(name)}: {escaped(value)}" for name, value in facts(log))
    yield ""


def _said(log: Log) -> Iterator[str]:
    yield "## What the columns say\n"
    for one in log.scorers.values():
        source = f" Source: {escaped(one.source)}" if one.source else ""
        yield f"- **{escaped(one.title or one.name)}** (`{_code(one.name)}`): {escaped(one.says)}{source}"
    yield ""


def _code(text: str) -> str:
    return plain(text).replace("`", "'")
