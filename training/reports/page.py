"""The page of a run: figures with intervals, the picture and the resolved configuration in one HTML file that loads nothing.

It is given values and knows neither trainer nor metrics file; every text is escaped.
"""

import json
import math
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from trimtab.training.evaluation import Estimate
from trimtab.training.reports.files import write_whole

Figure = Estimate | float | int | str


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be said about a run."""

    title: str
    figures: Mapping[str, Figure]
    """Final figures by name, in the order shown; an Estimate brings its interval."""
    config: Mapping[str, object]
    """The resolved configuration; nested mappings are shown with dotted names."""
    warnings: tuple[str, ...] = ()
    """What the reader should know first."""
    picture: bytes | None = None
    """A PNG, embedded as it is."""


def render_page(report: Report) -> str:
    """The whole page as HTML."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(report.title)}</title><style>{CSS}</style></head><body><main>",
            f"<h1>{escape(report.title)}</h1>",
            *(f'<p class="warning">{escape(warning)}</p>' for warning in report.warnings),
            *_table("Final figures", ("figure", "value", "interval", "n"), map(_figure, report.figures.items())),
            *_picture(report.picture),
            *_table("Configuration", ("setting", "value"), _settings(report.config)),
            "</main></body></html>\n",
        ]
    )


def write_page(report: Report, output: Path) -> None:
    """Writes the page; an older one stays until the new one is whole."""
    write_whole(output, render_page(report).encode())


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Lines of a titled table; nothing where there are no rows."""
    lines = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    if lines:
        yield f"<h2>{title}</h2><table><thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead><tbody>"
        yield from lines
        yield "</tbody></table>"


def _picture(png: bytes | None) -> Iterator[str]:
    if png is not None:
        yield f'<h2>Course</h2><img alt="Course of the run\'s metrics" src="data:image/png;base64,{b64encode(png).decode()}">'


def _figure(named: tuple[str, Figure]) -> tuple[str, str, str, str]:
    name, value = named
    if isinstance(value, Estimate):
        digits = _decimals(value)
        return name, _signed(f"{value.value:,.{digits}f}"), _interval(value, digits), f"{value.n:,}"
    return name, value if isinstance(value, str) else _number(value), "", ""


def _decimals(value: Estimate) -> int:
    """As many as show two digits of half the interval's width."""
    reach = (value.high - value.low) / 2
    return min(8, max(0, 1 - math.floor(math.log10(reach)))) if 0 < reach < math.inf else 3


def _interval(value: Estimate, digits: int) -> str:
    return " to ".join(_signed(f"{end:,.{digits}f}".replace("inf", "∞")) for end in (value.low, value.high))


def _number(value: float) -> str:
    return _signed(f"{value:,}" if isinstance(value, int) else f"{value:.4g}")


def _signed(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _settings(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _setting(value)


def _setting(value: object) -> str:
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    return json.dumps(value, ensure_ascii=False, default=str)


CSS = """
:root { color-scheme: light dark; --line: #d5dbe3; --soft: #5b6675; --note: #fff4e0; --edge: #c05621 }
@media (prefers-color-scheme: dark) { :root { --line: #3a4350; --soft: #a3aebb; --note: #3a2a16; --edge: #ed8936 } }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem }
h1 { font-size: 1.5rem; margin: 0 0 1rem } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
.warning { background: var(--note); border-left: 4px solid var(--edge); margin: .5rem 0; padding: .5rem .8rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line) }
td { overflow-wrap: anywhere }
th { color: var(--soft); font-weight: 600 } td:first-child { white-space: nowrap }
img { max-width: 100%; height: auto; border-radius: 4px; background: white }
"""
