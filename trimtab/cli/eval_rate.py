"""`trimtab eval export-pairs`, `rate` and `import-ratings`: people say which answer is better, without knowing whose."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.failure import USAGE, fail

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an evaluation.")]


def export_pairs(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSONL file of blinded pairs to write.")],
    pairs: Annotated[int, typer.Option(min=1, help="Most pairs, evenly from the alignments, drawn at random.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draw, the order and the sides.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there.")] = False,
) -> None:
    """Write pairs of answers for raters, an alignment's and the first one's, without names; the key stays with the log."""
    from trimtab.server.evaluation.log import read_log
    from trimtab.server.evaluation.raters.pairs import blinded, keep_key, write_records

    _check_free(output, overwrite=overwrite)
    with rating_errors():
        found = blinded(read_log(folder), pairs, seed=seed)
        keep_key(folder, found.key)
        write_records(output, found.pairs)
    print(f"{output}: {len(found.pairs)} pairs; rate them with: trimtab eval rate {output} --rater NAME -o ratings-NAME.jsonl")


def rate(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="A file of `export-pairs`.")],
    rater: Annotated[str, typer.Option(metavar="NAME", help="Who rates; the same name goes on where it was.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSONL file that ratings are added to.")],
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser here.")] = True,
) -> None:
    """Serve a page on this machine that shows pair after pair; each rating is on the disk before the next is shown."""
    import webbrowser

    from trimtab.server.evaluation.raters.pairs import read_pairs
    from trimtab.server.evaluation.raters.ratings import RatingFile
    from trimtab.server.evaluation.raters.serving import served

    name = rater.strip()
    if not 1 <= len(name) <= 100:
        raise typer.BadParameter(f"--rater must be 1 to 100 characters, not {len(name)}")
    with rating_errors():
        shown = read_pairs(pairs)
        with RatingFile(output, name, shown) as ratings:
            with served(shown, ratings) as url:
                print(f"{len(ratings.done)} of {len(shown)} rated. Rate at {url} and stop with Ctrl-C.", flush=True)
                if open_browser:
                    webbrowser.open(url)
                with contextlib.suppress(KeyboardInterrupt):
                    threading.Event().wait()
            print(f"\n{output}: {len(ratings.done)} of {len(shown)} rated by {name}")


def import_ratings(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(metavar="RATINGS...", help="Files of `rate`, of any number of raters.")],
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take ratings into the log, and show how far raters and scorers agree, and win rates with the scorers' bias taken out."""
    from trimtab.server.evaluation.log import read_log
    from trimtab.server.evaluation.raters.agreement import agreement
    from trimtab.server.evaluation.raters.ratings import import_ratings as imported
    from trimtab.server.evaluation.raters.telling import plain, told

    with rating_errors():
        log = read_log(folder)
        found = imported(folder, log, files)
    typer.echo(f"{folder}: {found.added} ratings added, {found.replaced} replaced, {len(found.ratings)} in all", err=True)
    if not found.ratings:
        fail("the files hold no rating", USAGE)
    said = agreement(log, found.ratings, level=level)
    print(json.dumps(plain(said), indent=2, ensure_ascii=False) if as_json else told(log, said))


@contextlib.contextmanager
def rating_errors() -> Iterator[None]:
    """Turn what pairs, ratings and logs raise into a message and an exit status."""
    from trimtab.server.evaluation.log import LogError
    from trimtab.server.evaluation.raters.pairs import RatersError

    try:
        yield
    except (LogError, RatersError) as error:
        fail(str(error), USAGE)


def _check_free(output: Path, *, overwrite: bool) -> None:
    """End the command where the output is there already, or has no folder."""
    if output.exists() and not overwrite:
        fail(f"{output} exists; --overwrite replaces it", USAGE)
    if not output.parent.is_dir():
        fail(f"{output}: there is no folder {output.parent}", USAGE)
