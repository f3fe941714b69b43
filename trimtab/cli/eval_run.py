"""An evaluation from its flags to its report: what is asked, what scores it, and how it ends."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from trimtab.cli.batch_run import INTERRUPTED, TERMINATED, run_loop
from trimtab.cli.failure import RUNTIME, USAGE, clear_errors, fail, warn
from trimtab.cli.flags import ServeFlags

if TYPE_CHECKING:
    from trimtab.cli.eval_place import Place
    from trimtab.server.evaluation.choosing import Chosen
    from trimtab.server.evaluation.data.datasets import SampleSet
    from trimtab.server.evaluation.log import Log, LogWriter
    from trimtab.server.evaluation.records import Header
    from trimtab.server.settings import Spec

SHOWN = 5
"""Bad rows that are told of."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is written on the command line."""

    data: str
    output: Path
    specs: "tuple[Spec, ...]"
    """Of the alignments; the first is what the others are compared with."""
    flags: ServeFlags
    config: Path | None = None
    url: str | None = None
    api_key: str | None = None
    model: str | None = None
    scorers: tuple[str, ...] | None = None
    """None = those that data and roles allow."""
    columns: Mapping[str, str] | None = None
    limit: int | None = None
    seed: int = 0
    sampling: Mapping[str, Any] | None = None
    concurrency: int = 16
    resume: bool = False
    max_dropped: float = 0.05
    report: bool = True


def evaluate(wanted: Wanted) -> None:
    """Run an evaluation and end the command with its exit status."""
    from trimtab.cli.eval_beforehand import check_samples, check_words

    with clear_errors(), evaluation_errors():
        check_words(wanted)
        samples = read_data(wanted)
        check_samples(wanted, samples)
        to_its_end(_run(wanted, samples), f"--resume goes on with {wanted.output}")
        end(wanted.output, wanted.max_dropped, report=wanted.report, pipelines=_pipelines(wanted))


@contextmanager
def evaluation_errors() -> Iterator[None]:
    """Turn what an evaluation raises into a message and an exit status."""
    from trimtab.server.evaluation.data.sources import DatasetError
    from trimtab.server.evaluation.log import LogError
    from trimtab.server.evaluation.runner import RunError
    from trimtab.server.evaluation.scorers.base import ScorerError

    try:
        yield
    except (LogError, ScorerError, DatasetError) as error:
        fail(str(error), USAGE)
    except RunError as error:
        fail(str(error), RUNTIME)


def to_its_end(work: Coroutine[Any, Any, None], hint: str) -> None:
    """Run work in an event loop; a signal ends the command with its own exit status and a hint how to go on."""
    try:
        run_loop(work)
    except (KeyboardInterrupt, asyncio.CancelledError) as stopped:
        typer.echo(f"Stopped; {hint}.", err=True)
        raise typer.Exit(INTERRUPTED if isinstance(stopped, KeyboardInterrupt) else TERMINATED) from None


def read_data(wanted: Wanted) -> "SampleSet":
    """The samples; rows that make none are told of. Raises DatasetError, also where too many rows make none."""
    from trimtab.server.evaluation.data.datasets import read_samples
    from trimtab.server.evaluation.data.sources import DatasetError

    found = read_samples(wanted.data, columns=wanted.columns or {}, limit=wanted.limit, seed=wanted.seed)
    if not found.bad:
        return found
    shown = "".join(f"\n  {row}" for row in found.bad[:SHOWN])
    told = f"{len(found.bad)} of {len(found.bad) + found.available} rows of {found.name} make no sample:{shown}"
    if len(found.bad) > wanted.max_dropped * (len(found.bad) + found.available):
        raise DatasetError(f"{told}\n--max-dropped {wanted.max_dropped} allows fewer")
    warn(told)
    return found


async def _run(wanted: Wanted, samples: "SampleSet") -> None:
    """Open what answers, generate what is missing, score it."""
    from trimtab.cli.eval_place import place_of
    from trimtab.server.evaluation.catalogue import Materials
    from trimtab.server.evaluation.choosing import choose

    async with place_of(wanted) as place:
        header = _header(wanted, samples, place)
        chosen = choose(wanted.scorers, Materials(samples.samples, place.service, place.model, wanted.seed))
        tell_left_out(chosen)
        with _writer(wanted, header, samples) as writer:
            await _generate(wanted, header, samples, place, writer)
            await score_all(wanted.output, chosen, writer, again=False)


def _header(wanted: Wanted, samples: "SampleSet", place: "Place") -> "Header":
    from trimtab.server.evaluation.identity import package_versions
    from trimtab.server.evaluation.records import Header

    return Header(
        created=time.time(),
        model=place.model,
        model_sha256=place.model_sha256,
        engine=place.engine,
        dataset=samples.name,
        dataset_sha256=samples.sha256,
        samples=len(samples.samples),
        seed=wanted.seed,
        sampling=dict(wanted.sampling or {}),
        alignments=place.alignments,
        packages=package_versions(),
    )


def _writer(wanted: Wanted, header: "Header", samples: "SampleSet") -> "LogWriter":
    """The log, begun or gone on with; --resume of what never began begins it."""
    from trimtab.server.evaluation.log import HEADER, LogWriter

    if wanted.resume and (wanted.output / HEADER).exists():
        return LogWriter.resume(wanted.output, header, samples.samples)
    return LogWriter.create(wanted.output, header, samples.samples)


async def _generate(wanted: Wanted, header: "Header", samples: "SampleSet", place: "Place", writer: "LogWriter") -> None:
    """Ask for the answers that are not there, with a bar that shows rate and what is left."""
    from tqdm import tqdm

    from trimtab.server.evaluation.runner import generate

    done, errors = writer.answered(), 0
    total = len(samples.samples) * len(header.alignments)
    with tqdm(total=total, initial=len(done), unit="answer", desc="answers", disable=None, dynamic_ncols=True) as bar:

        def tell(generation: Any) -> None:
            nonlocal errors
            errors += generation.error is not None
            bar.set_postfix_str(f"{errors} errors" if errors else "", refresh=False)
            bar.update()

        await generate(header, samples.samples, place.answerer, writer, done=done, concurrency=wanted.concurrency, tell=tell)


def tell_left_out(chosen: "Chosen") -> None:
    """Name the scorers that data or roles call for and that cannot work."""
    for reason in chosen.left_out:
        warn(f"left out: {reason}")


async def score_all(folder: Path, chosen: "Chosen", writer: "LogWriter", *, again: bool) -> None:
    """Score the log in the folder, with a bar.

    again: also by scorers whose every verdict is there; an answer that is there never changes, so none of them is out of date.
    """
    from tqdm import tqdm

    from trimtab.server.evaluation.log import read_log
    from trimtab.server.evaluation.scoring import score_log

    log = await asyncio.to_thread(read_log, folder)
    scorers = [one for one in chosen.scorers if again or not _is_done(log, one.about.name, chosen.fingerprints)]
    answers = sum(one.error is None for one in log.generations.values())
    with tqdm(total=answers * len(scorers), unit="score", desc="scores", disable=None, dynamic_ncols=True) as bar:
        await score_log(log, scorers, writer, fingerprints=chosen.fingerprints, tell=bar.update)


def _is_done(log: "Log", scorer: str, fingerprints: Mapping[str, str]) -> bool:
    """Whether this very scorer has a verdict on every answer."""
    record = log.scorers.get(scorer)
    if record is None or record.sha256 != fingerprints[scorer]:
        return False
    return all((scorer, *key) in log.scores for key, one in log.generations.items() if one.error is None)


def _pipelines(wanted: Wanted) -> "Mapping[str, Spec]":
    from trimtab.cli.flags import load

    return load(wanted.flags, wanted.config).pipelines


def end(folder: Path, max_dropped: float, *, report: bool, pipelines: "Mapping[str, Spec] | None" = None) -> None:
    """Write and show the report; end the command with status 1 where too much was dropped.

    pipelines: named ones that the log's alignments may be written with.
    """
    from trimtab.server.evaluation.choosing import dropped_by
    from trimtab.server.evaluation.log import read_log

    log = read_log(folder)
    if report:
        from trimtab.server.evaluation.report import write_reports
        from trimtab.server.evaluation.report.terminal import render_text

        print(render_text(log, write_reports(folder, log)))
        typer.echo(f"report: {folder / 'report.html'}", err=True)
    lost = [one for one in dropped_by(log, pipelines) if one.share > max_dropped]
    if lost:
        lines = "".join(
            f"\n  {one.scorer:<18} {one.errored} errored and {one.unscored} unscored of {one.expected} ({one.share:.1%}): "
            f"{'; '.join(one.reasons)}"
            for one in lost
        )
        fail(f"more was dropped than --max-dropped {max_dropped} allows:{lines}", RUNTIME)
