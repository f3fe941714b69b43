"""Writes the reports of a log beside it; each file is there whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from trimtab.server.evaluation.log import Log, LogError
from trimtab.server.evaluation.report.figures import pictures
from trimtab.server.evaluation.report.html import render_page
from trimtab.server.evaluation.report.json import render_json
from trimtab.server.evaluation.report.markdown import render_markdown
from trimtab.server.evaluation.summary import Summary, summarise


def write_reports(folder: Path, log: Log) -> Summary:
    """The numbers of `report.html`, `report.md`, `report.json` and, beside the Markdown, its pictures `report-*.svg`.

    Raises LogError where the folder cannot be written.
    """
    summary = summarise(log)
    drawn = pictures(log, summary)
    _write(folder / "report.json", render_json(log, summary))
    _write(folder / "report.md", render_markdown(log, summary, drawn))
    for name, picture in drawn.items():
        _write(folder / name, picture)
    _write(folder / "report.html", render_page(log, summary))
    return summary


def _write(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.new")
    try:
        staged.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        os.replace(staged, path)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        raise LogError(f"{path} cannot be written: {error.strerror or error}") from error
