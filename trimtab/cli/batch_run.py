"""What `trimtab batch` does: finds out what is missing, answers it, and tells what became of it.

What is missing is found out before anything heavy is imported, so a finished file is recognised in a moment.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from trimtab.cli.failure import RUNTIME, USAGE, fail, warn

if TYPE_CHECKING:
    from trimtab.cli.batch_progress import Tally
    from trimtab.server.lines.answer import LineAnswer
    from trimtab.server.lines.offline import Place
    from trimtab.server.lines.rows import Rows
    from trimtab.server.lines.shards import Shard
    from trimtab.server.settings import Settings

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses after Ctrl-C and SIGTERM."""
DECIDING = {"models", "roles", "encoders", "pipelines", "defaults", "policies"}
"""Parts of the configuration that decide the answers."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done, checked as far as it can be without opening anything."""

    input: Path
    output: Path
    shard: "Shard"
    align: Any
    concurrency: int | None
    progress: bool | None
    settings: "Settings | None"
    """Of a model in this process; None with a server."""
    model: str | None
    url: str | None
    api_key: str | None
    ray: int | None
    ray_gpus: float

    def run(self, sha256: str) -> dict[str, Any]:
        """What decides the answers; kept beside the output. Where a server is, and how many lines go at once, does not."""
        told = {"input_sha256": sha256, "shard": str(self.shard), "alignment": self.align}
        if self.settings is None:
            return {**told, "answered_by": "a server", "model": self.model}
        parts = self.settings.model_dump(mode="json", include=DECIDING, exclude={"defaults": {"sse_keep_alive_s"}})
        return {**told, "answered_by": "this program", **parts}


def fulfil(order: Order, *, resume: bool, overwrite: bool) -> None:
    """Answer what is missing, tell what became of it, and end the command where some rows are errors."""
    from trimtab.server.lines.errors import OutputRefused
    from trimtab.server.lines.run_file import locked

    try:
        _check_files(order)
        with locked(order.output):
            tally, stopped = _answered(order, resume=resume, overwrite=overwrite)
    except OutputRefused as error:
        fail(str(error), USAGE)
    typer.echo(f"{order.output}: {tally.told()}", err=True)
    for told in tally.faults:
        warn(told)
    if tally.errors > len(tally.faults):
        warn(f"{tally.errors} errors in all")
    if stopped:
        typer.echo("Stopped; --resume goes on.", err=True)
    if stopped or tally.errors:
        raise typer.Exit(stopped or RUNTIME)


def _check_files(order: Order) -> None:
    """Raise OutputRefused for a pipe, which could be read only once, and for an output that is a device or a folder."""
    from trimtab.server.lines.errors import OutputRefused

    if not order.input.is_file():
        raise OutputRefused(f"{order.input} is a pipe or a device; the input is read twice: put its lines into a file")
    if order.output.exists() and not order.output.is_file():
        raise OutputRefused(
            f"{order.output} is a folder, a pipe or a device; the output must be a file, which --resume can read"
        )


def _answered(order: Order, *, resume: bool, overwrite: bool) -> "tuple[Tally, int]":
    """What became of the lines, and the exit status of a run that was stopped (0: it was not)."""
    from trimtab.cli.batch_progress import Tally
    from trimtab.server.lines.run_file import check_same
    from trimtab.server.lines.shards import survey

    rows = _kept_rows(order, resume=resume, overwrite=overwrite)
    found = survey(order.input, order.shard, rows)
    run = order.run(found.sha256)
    if rows is not None:
        check_same(order.output, run)
    place = _place(order) if found.missing else None
    begun = _begin(order.output, rows, run)
    tally = Tally.of(found.lines, found.missing, begun)
    return tally, _answer(order, place, begun, tally) if place else 0


def _kept_rows(order: Order, *, resume: bool, overwrite: bool) -> "Rows | None":
    """The rows that are gone on with; None where the output begins anew. Raises OutputRefused."""
    from trimtab.server.lines.errors import OutputRefused
    from trimtab.server.lines.rows import read_rows

    output = order.output
    if not output.exists() or not output.stat().st_size:
        return None
    if output.samefile(order.input):
        raise OutputRefused(f"{output} is the input; answers go into a file of their own")
    if not resume and not overwrite:
        raise OutputRefused(f"{output} exists: --resume goes on with it, --overwrite replaces it")
    return read_rows(output) if resume else None


def _begin(output: Path, rows: "Rows | None", run: dict[str, Any]) -> "Rows":
    """The rows that stand, with the output ready for more."""
    from trimtab.server.lines.rows import Rows, mend
    from trimtab.server.lines.run_file import write_run

    if rows is not None:
        mend(output, rows)
        return rows
    output.unlink(missing_ok=True)
    write_run(output, run)
    output.touch()
    return Rows()


def _answer(order: Order, place: "Place", rows: "Rows", tally: "Tally") -> int:
    """Answer the missing lines. The exit status of a run that was stopped, or 0."""
    from trimtab.cli.batch_progress import BatchBar
    from trimtab.server.lines.offline import answer_lines, missing_lines
    from trimtab.server.lines.rows import RowWriter

    lines = missing_lines(order.input, order.shard, rows)
    with RowWriter(order.output) as writer, BatchBar(tally, order.progress) as bar:

        def write(answer: "LineAnswer") -> None:
            row = answer.row()
            writer.append(row)
            tally.add(row)
            bar.step()

        concurrency = order.concurrency or place.concurrency
        if order.ray is not None:
            from trimtab.server.lines.ray_data import Workers, answer_on_ray

            workers = Workers(order.ray, gpus=order.ray_gpus)
            bar.begin()
            return _until_stopped(lambda: answer_on_ray(lines, place, write, concurrency=concurrency, workers=workers))

        async def answer_here() -> None:
            async with place.open() as answerer:
                bar.begin()
                await answer_lines(lines, answerer, write, concurrency=concurrency)

        return _until_stopped(lambda: run_loop(answer_here()))


def _place(order: Order) -> "Place":
    """Where the lines are answered."""
    alignment = None if order.align is None else {"strategy": order.align}
    if order.settings is None:
        from trimtab.server.lines.remote import CONCURRENCY, AtServer

        return AtServer(str(order.url), order.api_key, order.model, alignment, order.concurrency or CONCURRENCY)
    from trimtab.cli.in_process import built, prepare
    from trimtab.server.lines.local import InProcess
    from trimtab.strategies.config import parse_spec

    if order.align is not None:
        parse_spec(order.align, pipelines=order.settings.pipelines, param="--align")
    prepare(order.settings)
    return InProcess(order.settings, alignment) if order.ray else InProcess(order.settings, alignment, built)


def _until_stopped(work: Callable[[], None]) -> int:
    """The exit status of work that a signal ends; 0 where it comes to its end."""
    try:
        work()
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    return 0


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run work to its end in the fastest loop there is. SIGTERM cancels it: CancelledError; Ctrl-C: KeyboardInterrupt."""

    async def whole() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(whole())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
