"""`trimtab eval merge`: evaluations of several models, or of one at several times, as one log whose answers can be compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.failure import USAGE, fail, warn

if TYPE_CHECKING:
    from trimtab.server.evaluation.merging import Part

ANY = 1.0
"""What the logs dropped was judged when each was made."""


def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="A B...", help="Folders of evaluations of the same samples; the others are held against A."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the merged log and its report.")],
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", metavar="A=NAME", help="What a folder's alignments are called; repeatable. Default its own name."
        ),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write the log alone.")] = False,
) -> None:
    """Make one log of several: an alignment becomes NAME, or NAME:alignment where its log has others.

    Answers and scores are kept; what compares answers is scored anew: `trimtab eval score DIR --scorers judge --model JUDGE`.
    """
    from trimtab.cli.eval_run import end
    from trimtab.server.evaluation.log import LogError
    from trimtab.server.evaluation.merging import keep_log, merge_logs

    try:
        merged = merge_logs(_parts(folders, name or ()))
        keep_log(output, merged.log)
        for note in merged.notes:
            warn(note)
        end(output, ANY, report=not no_report)
    except LogError as error:
        fail(str(error), USAGE)
    typer.echo(f"{output}: {len(merged.log.header.alignments)} alignments, {len(merged.log.samples)} samples", err=True)


def _parts(folders: Sequence[Path], names: Sequence[str]) -> "list[Part]":
    """The logs, each with its name. Raises LogError, and typer.BadParameter for a name of no folder."""
    from trimtab.server.evaluation.log import read_log
    from trimtab.server.evaluation.merging import Part

    given: dict[Path, str] = {}
    for folder, name in map(_name, names):
        if folder not in folders:
            raise typer.BadParameter(f"--name {folder}={name}: no folder that is merged; these are {_listed(folders)}")
        if folder in given:
            raise typer.BadParameter(f"--name {folder}={name}: it is called {given[folder]!r} already")
        given[folder] = name
    return [Part(given.get(folder, folder.resolve().name), read_log(folder)) for folder in folders]


def _name(text: str) -> tuple[Path, str]:
    """Folder and name of `--name`."""
    folder, sign, name = text.rpartition("=")
    if not (folder and sign and name.strip()):
        raise typer.BadParameter(f"--name must be FOLDER=NAME, not {text!r}")
    return Path(folder), name.strip()


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
