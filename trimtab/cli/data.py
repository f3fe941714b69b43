"""`trimtab data`: published data sets as files that `trimtab eval` reads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trimtab.cli.failure import USAGE, clear_errors, fail, warn

if TYPE_CHECKING:
    from trimtab.server.evaluation.data.datasets import SampleSet

app = typer.Typer(help="Data of evaluations.", no_args_is_help=True)

MOST_SHOWN = 20
"""Rows that were left out, shown one by one."""
Published = Literal["hh", "truthfulqa", "realtoxicity"]


@app.callback()
def data() -> None:
    """Data of evaluations."""


@app.command("convert")
def convert(
    form: Annotated[Published, typer.Argument(help="What the file is of.", metavar="hh|truthfulqa|realtoxicity")],
    file: Annotated[Path, typer.Argument(help="The published file, packed (.gz) or not.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSONL file to write.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Most samples, drawn at random; default all.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there.")] = False,
) -> None:
    """Write a published file of HH-RLHF, TruthfulQA or RealToxicityPrompts in the form of evaluations."""
    if output.exists() and not overwrite:
        fail(f"{output} exists; --overwrite replaces it", USAGE)
    if not output.parent.is_dir():
        fail(f"{output}: there is no folder {output.parent}", USAGE)
    from trimtab.cli.eval_run import evaluation_errors
    from trimtab.server.evaluation.data.datasets import read_published
    from trimtab.server.evaluation.data.rows import write_rows

    with clear_errors(), evaluation_errors():
        with _bar(file) as reached:
            found = read_published(form, str(file), limit=limit, seed=seed, progress=reached)
        write_rows(output, found.samples)
    _tell(file, output, found)


@contextmanager
def _bar(file: Path) -> Iterator[Callable[[int], None]]:
    """What shows how many bytes of the file are read."""
    from tqdm import tqdm

    size = file.stat().st_size if file.is_file() else None
    with tqdm(desc=file.name, total=size, unit="B", unit_scale=True, leave=False, disable=None) as bar:

        def reached(end: int) -> None:
            bar.update(end - bar.n)

        yield reached


def _tell(file: Path, output: Path, found: "SampleSet") -> None:
    """Lines left out on standard error, the counts on standard output."""
    for row in found.bad[:MOST_SHOWN]:
        warn(f"{file}:{row.line}: {row.reason}")
    if len(found.bad) > MOST_SHOWN:
        warn(f"{file}: {len(found.bad)} lines left out in all")
    part = f" of {found.available}" if len(found.samples) < found.available else ""
    left_out = f", {len(found.bad)} line{'s' if len(found.bad) > 1 else ''} left out" if found.bad else ""
    print(f"{output}: {len(found.samples)}{part} samples{left_out}")
