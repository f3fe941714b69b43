"""`trimtab eval report`: the reports of an evaluation, made again from its log."""

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.failure import USAGE, fail


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an evaluation.")],
) -> None:
    """Write report.html, report.md and report.json again; nothing is generated or scored."""
    from trimtab.server.evaluation.log import LogError, read_log
    from trimtab.server.evaluation.report import write_reports

    try:
        write_reports(folder, read_log(folder))
    except LogError as error:
        fail(str(error), USAGE)
    print(f"wrote {folder / 'report.html'}, report.md and report.json")
