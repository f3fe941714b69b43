"""The report as one page that loads nothing: tables and pictures as markup, the sample browser as data and a script.

The page's policy allows this page's own style and script by their hashes and nothing else; every text is escaped.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.report.embedding import embedded
from trimtab.server.evaluation.report.facts import alignments, facts, heading, sentence
from trimtab.server.evaluation.report.figures import Figure, figures
from trimtab.server.evaluation.report.plots import STYLE
from trimtab.server.evaluation.report.tables import Cell, Table, all_tables, results
from trimtab.server.evaluation.report.wording import plain
from trimtab.server.evaluation.summary import Summary

_HERE = Path(__file__)
_COST_TITLES = {"tokens": "tokens", "latency": "latency", "calls": "calls"}


def render_page(log: Log, summary: Summary) -> str:
    """The whole page as HTML."""
    style, script = _file("page.css") + STYLE, _file("page.js")
    return Template(_file("page.html")).substitute(
        policy=_policy(style, script),
        style=style,
        title=_text(heading(log)),
        lead=_text(sentence(log, summary)),
        facts="".join(_facts(log)),
        results=_table(results(log, summary)),
        plots="".join(_plots(log, list(figures(log, summary)))),
        scorers="".join(_scorers(log)),
        tables="".join(map(_table, all_tables(log, summary))),
        data=embedded(log),
        script=script,
    )


def _policy(style: str, script: str) -> str:
    return f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return _HERE.with_name(name).read_text(encoding="utf-8")


def _text(text: str) -> str:
    return escape(plain(text, most=2000))


def _facts(log: Log) -> Iterator[str]:
    yield "<dl class=facts>"
    yield from (f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts(log))
    yield "</dl>"
    head = tuple(Cell((name,)) for name in ("Alignment", "Specification", "SHA-256"))
    rows = tuple(tuple(Cell((part,)) for part in row) for row in alignments(log))
    yield _table(Table("Alignments", head, rows))


def _table(one: Table) -> str:
    """A titled table that scrolls by itself where the window is narrow."""
    name = f"t-{one.title.lower().replace(' ', '-')}"
    head = "".join(f"<th scope=col>{_lines(cell)}</th>" for cell in one.head)
    rows = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in one.rows)
    note = f"<p class=note>{_text(one.note)}</p>" if one.note else ""
    region = f'<div class=scroll tabindex=0 role=region aria-labelledby="{name}">'
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<section class=table><h3 id="{name}">{_text(one.title)}</h3>{note}{region}{body}</div></section>'


def _cells(row: Sequence[Cell]) -> Iterator[str]:
    named = _lines(row[0]).replace("+", "+<wbr>")
    yield f"<th scope=row>{named}</th>"
    yield from (f"<td>{_lines(cell)}</td>" for cell in row[1:])


def _lines(cell: Cell) -> str:
    last = len(cell.lines) - 1
    return "".join(
        f'<span class="{cell.tone}">{_text(line)}</span>'
        if place == last and cell.tone != "none"
        else f"<span>{_text(line)}</span>"
        for place, line in enumerate(cell.lines)
    )


def _plots(log: Log, drawn: Sequence[Figure]) -> Iterator[str]:
    """Two choices and every picture, of which the script shows what is chosen; without it, the first of each kind."""
    if not drawn:
        yield "<p>Nothing to draw: no scorer has both scores and costs.</p>"
        return
    scorers = list(dict.fromkeys(one.scorer for one in drawn))
    yield '<p class=choices><label>Scorer <select id="plot-scorer">'
    yield from _options((one, log.scorers[one].title) for one in scorers)
    yield '</select></label> <label>Cost <select id="plot-cost">'
    yield from _options((name, title) for name, title in _COST_TITLES.items() if any(one.cost == name for one in drawn))
    yield "</select></label></p>"
    shown = {next((one for one in drawn if one.cost is not None), None), next((one for one in drawn if one.cost is None), None)}
    for one in drawn:
        hidden = "" if one in shown else " hidden"
        caption = "By category" if one.cost is None else f"Benefit against {_COST_TITLES[one.cost]}"
        keys = f'data-scorer="{escape(plain(one.scorer))}" data-cost="{one.cost or ""}"'
        yield f"<figure {keys}{hidden}>{one.svg}<figcaption>{caption}, with intervals.</figcaption></figure>"


def _options(values: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (f'<option value="{escape(plain(value))}">{_text(title)}</option>' for value, title in values)


def _scorers(log: Log) -> Iterator[str]:
    for one in log.scorers.values():
        source = f" <span class=source>{_text(one.source)}</span>" if one.source else ""
        name = f"{_text(one.title or one.name)} <code>{_text(one.name)}</code>"
        yield f"<div><dt>{name}</dt><dd>{_text(one.says)}{source}</dd></div>"
