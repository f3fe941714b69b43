"""`trimtab eval`: several alignments side by side on the same prompts, and what came of it as a log and a report.

The bare form runs an evaluation; what else can be done with one is a subcommand.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trimtab.cli import eval_alpaca, eval_compare, eval_merge, eval_rate, eval_report, eval_score
from trimtab.cli.flags import ServeFlags
from trimtab.cli.model_options import MODEL, Dtype, Engine, MaxModelLen
from trimtab.cli.spec import parse_align, parse_roles

DATA, ANSWERS, OTHER = "Data and log", "Answers and scores", "Other"
BARE = "run"
"""The subcommand of the bare form."""


class BareRuns(TyperGroup):
    """A group whose first word may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the bare form's name in front of what is no subcommand."""
        known = {*self.commands, *ctx.help_option_names}
        given = args if not args or args[0] in known else [BARE, *args]
        return list(super().parse_args(ctx, given))


app = typer.Typer(
    cls=BareRuns,
    no_args_is_help=True,
    help="Whether an alignment helps and what it costs: `trimtab eval --data FILE --align plain --align urial --output DIR`. "
    "`trimtab eval run --help` shows the flags of this bare form.",
)


@app.command(BARE)
def run(
    data: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Prompts, preference pairs or multiple choice: JSONL, CSV, or a data set of the hub.",
            rich_help_panel=DATA,
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the log and the report.", rich_help_panel=DATA)],
    model: Annotated[
        str | None,
        typer.Argument(
            envvar="TRIMTAB_MODEL",
            help="As for `serve`: alias, Hugging Face id, directory (a model, or a run of `train`) or .gguf file; with --url "
            "its name there. Default the first there is.",
        ),
    ] = None,
    align: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="An alignment: a name, or a list or object as JSON or YAML; repeatable. The first is what the others are "
            "compared with. Default plain.",
            rich_help_panel=ANSWERS,
        ),
    ] = None,
    scorers: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Scorers; default all that data and roles allow.", rich_help_panel=ANSWERS),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="TRIMTAB_URL", help="A running server, in place of a model here.", rich_help_panel=MODEL),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="TRIMTAB_API_KEY", metavar="KEY", help="Key for --url.", rich_help_panel=MODEL)
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TRIMTAB_ROLE",
            metavar="ROLE=SOURCE",
            help="Engine of a role (reward, judge, aligner), for strategies and scorers; repeatable.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(envvar="TRIMTAB_CONFIG", metavar="FILE", help="Configuration (trimtab.yaml).", rich_help_panel=MODEL),
    ] = None,
    engine: Engine = None,
    max_model_len: MaxModelLen = None,
    dtype: Dtype = None,
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Accept a gated licence, e.g. gemma; repeatable.", rich_help_panel=MODEL),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="State (corpora); default the user's data folder.", rich_help_panel=OTHER)
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A=B,...", help="Names of the data's columns: prompt=question,good=answers.", rich_help_panel=DATA
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many samples, drawn by --seed; default all.", rich_help_panel=DATA)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of samples and of every answer.", rich_help_panel=ANSWERS)] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer in tokens.", rich_help_panel=ANSWERS)] = 256,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="Default the model's own.", rich_help_panel=ANSWERS)
    ] = None,
    top_p: Annotated[float | None, typer.Option(min=0, max=1, help="Default the model's own.", rich_help_panel=ANSWERS)] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in work at once.", rich_help_panel=OTHER)] = 16,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the log in --output.", rich_help_panel=DATA)] = False,
    max_dropped: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of rows that may be bad, and of answers errored or unscored, before the run counts as failed.",
            rich_help_panel=ANSWERS,
        ),
    ] = 0.05,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write the log alone.", rich_help_panel=DATA)] = False,
) -> None:
    """Run an evaluation; `run` may be left out. Exit status: 0 done, 1 it failed or dropped too many, 2 usage."""
    from trimtab.cli.eval_run import Wanted, evaluate

    flags = ServeFlags(
        model=None if url else model,
        engine=engine,
        max_model_len=max_model_len,
        dtype=dtype,
        roles=parse_roles(role or ()),
        accept_licences=tuple(accept_licence or ()),
        data_dir=data_dir,
        log_level="warning",
    )
    _check(url, {"--engine": engine, "--max-model-len": max_model_len, "--dtype": dtype})
    evaluate(
        Wanted(
            data=data,
            output=output,
            specs=tuple(parse_align(text) for text in align or ["plain"]),
            flags=flags,
            config=config,
            url=url,
            api_key=api_key,
            model=model,
            scorers=names_of(scorers),
            columns=columns_of(columns),
            limit=limit,
            seed=seed,
            sampling={
                "max_tokens": max_tokens,
                **{k: v for k, v in (("temperature", temperature), ("top_p", top_p)) if v is not None},
            },
            concurrency=concurrency,
            resume=resume,
            max_dropped=max_dropped,
            report=not no_report,
        )
    )


app.command("score")(eval_score.score)
app.command("report")(eval_report.report)
app.command("compare")(eval_compare.compare)
app.command("merge")(eval_merge.merge)
app.command("export-pairs")(eval_rate.export_pairs)
app.command("rate")(eval_rate.rate)
app.command("import-ratings")(eval_rate.import_ratings)
app.command("to-alpaca")(eval_alpaca.to_alpaca)
app.command("from-alpaca")(eval_alpaca.from_alpaca)


def names_of(text: str | None) -> tuple[str, ...] | None:
    """The names of a list with commas; None where nothing was said."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise typer.BadParameter(f"--scorers {text!r}: write names with commas between them")
    return names


def columns_of(text: str | None) -> dict[str, str]:
    """`prompt=question,good=answers` as a mapping. Raises typer.BadParameter naming the item."""
    found: dict[str, str] = {}
    for item in text.split(",") if text else ():
        field, equals, column = (part.strip() for part in item.partition("="))
        if not (field and equals and column):
            raise typer.BadParameter(f"--columns {item!r}: write FIELD=COLUMN, e.g. prompt=question")
        if field in found:
            raise typer.BadParameter(f"--columns: {field!r} is given twice")
        found[field] = column
    return found


def _check(url: str | None, local: dict[str, Any]) -> None:
    """Raise typer.BadParameter for flags of a model here beside a server that has its own."""
    given = [flag for flag, value in local.items() if value is not None]
    if url and given:
        raise typer.BadParameter(f"{', '.join(given)}: with --url the server has its own")
