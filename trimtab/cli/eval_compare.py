"""`trimtab eval compare`: what changed from one evaluation to another, on the samples that both have."""

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.failure import USAGE, fail


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of an evaluation.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of another one, of the same samples.")],
    pair: Annotated[
        list[str] | None,
        typer.Option(
            "--pair", metavar="NAME_A=NAME_B", help="Alignments that belong together; repeatable. Default: those of one name."
        ),
    ] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of Markdown.")] = False,
) -> None:
    """Show the paired differences of every scorer from A to B, with intervals, as Markdown."""
    from trimtab.server.evaluation.comparing import compare_logs
    from trimtab.server.evaluation.log import LogError, read_log
    from trimtab.server.evaluation.report.compared import comparison_json, comparison_markdown

    pairs = [_pair(text) for text in pair or ()]
    try:
        found = compare_logs(read_log(first), read_log(second), pairs=pairs, level=level)
    except LogError as error:
        fail(str(error), USAGE)
    print(comparison_json(found) if as_json else comparison_markdown(found), end="\n" if as_json else "")


def _pair(text: str) -> tuple[str, str]:
    """Both names of `--pair`."""
    one, sign, other = text.partition("=")
    if not (one and sign and other):
        raise typer.BadParameter(f"--pair must be NAME_A=NAME_B, not {text!r}")
    return one, other
