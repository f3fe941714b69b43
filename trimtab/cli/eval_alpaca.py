"""`trimtab eval to-alpaca` and `from-alpaca`: AlpacaEval's files out and in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.failure import USAGE, fail, warn

if TYPE_CHECKING:
    from trimtab.server.evaluation.alpaca import Taken

SHOWN = 5
"""Samples without a row that are told of."""


def to_alpaca(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an evaluation.")],
    alignment: Annotated[str, typer.Option(metavar="NAME", help="Whose answers, as the report calls it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there.")] = False,
) -> None:
    """Write an alignment's answers as AlpacaEval reads them."""
    from trimtab.server.evaluation.alpaca import outputs_of
    from trimtab.server.evaluation.log import read_log

    if output.exists() and not overwrite:
        fail(f"{output} exists; --overwrite replaces it", USAGE)
    with alpaca_errors():
        found = outputs_of(read_log(folder), alignment)
        output.write_text(json.dumps(found.rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for reason in found.left_out[:SHOWN]:
        warn(f"left out: {reason}")
    if len(found.left_out) > SHOWN:
        warn(f"{len(found.left_out)} samples left out in all")
    print(f"{output}: {len(found.rows)} answers of {alignment}")


def from_alpaca(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the log.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="OUTPUTS REFERENCE", help="Two files of outputs, for a new log; none to add to the log in DIR."),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An annotations.json, as the scores of a scorer `alpaca_eval`.")
    ] = None,
) -> None:
    """Make a log of AlpacaEval's outputs, or add its annotations to a log; then `eval score` and `eval report` work on it."""
    from trimtab.server.evaluation.alpaca import annotated, taken
    from trimtab.server.evaluation.log import LogWriter, read_log

    if len(files or ()) not in (0, 2) or not (files or annotations):
        raise typer.BadParameter("give OUTPUTS and REFERENCE for a new log, or --annotations alone for the log in --output")
    with alpaca_errors():
        if files:
            _write(output, taken(files[0], files[1]))
        if annotations is not None:
            found = annotated(read_log(output), annotations)
            with LogWriter.reopen(output) as writer:
                for score in found.scores:
                    writer.add(score)
                writer.add(found.record)
            if found.unmatched:
                warn(f"{found.unmatched} annotations are of answers that the log does not hold")
            print(f"{output}: annotations added; show them with: trimtab eval report {output}")


def _write(folder: Path, found: "Taken") -> None:
    """The log of two files of outputs."""
    from trimtab.server.evaluation.log import LogWriter

    with LogWriter.create(folder, found.header, found.samples) as writer:
        for generation in found.generations:
            writer.add(generation)
    if found.unmatched:
        warn(f"{found.unmatched} rows are left out: the other file does not have their instruction")
    names = " and ".join(one.name for one in found.header.alignments)
    print(f"{folder}: {len(found.samples)} samples of {names}")


@contextmanager
def alpaca_errors() -> Iterator[None]:
    """Turn what files and logs raise into a message and an exit status."""
    from trimtab.server.evaluation.alpaca import AlpacaError
    from trimtab.server.evaluation.log import LogError

    try:
        yield
    except (AlpacaError, LogError, OSError) as error:
        fail(str(error), USAGE)
