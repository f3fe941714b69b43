"""`trimtab batch`: a file of requests answered to its end, by a model in this process, a server, or a Ray cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trimtab.cli.failure import clear_errors
from trimtab.cli.flags import ServeFlags, load
from trimtab.cli.model_options import MODEL, Dtype, Engine, MaxModelLen, UpstreamApiKey
from trimtab.cli.serve import OTHER, env
from trimtab.cli.spec import parse_align, parse_roles

if TYPE_CHECKING:
    from trimtab.server.lines.shards import Shard

RUN, MACHINES = "Run", "Many machines"
HERE_ONLY = ("engine", "upstream", "served_model_name", "max_model_len", "dtype", "role", "config", "data_dir")
"""Flags about a model in this process."""


def batch(
    ctx: typer.Context,
    input: Annotated[Path, typer.Argument(metavar="INPUT", exists=True, dir_okay=False, help="Requests, one a line (JSONL).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the answers go, one a line.")],
    model: Annotated[
        str | None,
        typer.Argument(
            envvar="TRIMTAB_MODEL",
            help="As for `serve`; with --url the model of lines that name none. Default the embedded, or the server's first.",
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(envvar="TRIMTAB_URL", help="A running server; without it the model runs in this process.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="TRIMTAB_API_KEY", metavar="KEY", help="Key for the server.")] = None,
    align: Annotated[
        str | None,
        typer.Option(
            envvar="TRIMTAB_ALIGN", metavar="SPEC", help="Strategy of lines without an `alignment`: a name, or JSON or YAML."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with FILE: answer what it lacks.", rich_help_panel=RUN)
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.", rich_help_panel=RUN)] = False,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Lines in work at once; default what keeps the engine full.", rich_help_panel=RUN
        ),
    ] = None,
    progress: Annotated[
        bool | None,
        typer.Option("--progress/--no-progress", help="Default: where standard error is a terminal.", rich_help_panel=RUN),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(envvar="TRIMTAB_LOG_LEVEL", help="Least severe level logged.", rich_help_panel=RUN),
    ] = "warning",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only the lines whose number leaves I when divided by N: one of N machines, 0/N to N-1/N, each its own FILE.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    ray: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="N actors of a Ray cluster (RAY_ADDRESS) answer.", rich_help_panel=MACHINES),
    ] = None,
    ray_gpus: Annotated[float, typer.Option(min=0, help="GPUs of each actor.", rich_help_panel=MACHINES)] = 0.0,
    config: Annotated[
        Path | None, typer.Option(envvar="TRIMTAB_CONFIG", metavar="FILE", help="As for `serve`.", rich_help_panel=MODEL)
    ] = None,
    engine: Engine = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            envvar="TRIMTAB_UPSTREAM",
            metavar="URL",
            help="Align the answers of this OpenAI-compatible server here.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    upstream_api_key: UpstreamApiKey = None,
    served_model_name: Annotated[
        str | None,
        typer.Option(envvar="TRIMTAB_SERVED_MODEL_NAME", metavar="NAME", help="Name that lines use.", rich_help_panel=MODEL),
    ] = None,
    max_model_len: MaxModelLen = None,
    dtype: Dtype = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TRIMTAB_ROLE",
            metavar="ROLE=SOURCE",
            help="Engine of a role (judge, reward, aligner, embed); repeatable.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    accept_licence: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="As for `serve`.", rich_help_panel=MODEL)
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help=env("DATA_DIR", "Corpora; as for `serve`."), rich_help_panel=OTHER)
    ] = None,
) -> None:
    """Answer a file of requests in OpenAI's batch format. Exit status: 0 all answered, 1 some rows are errors, 2 usage."""
    flags = ServeFlags(
        model=model,
        engine=engine,
        upstream=upstream,
        upstream_api_key=upstream_api_key,
        served_model_name=served_model_name,
        max_model_len=max_model_len,
        dtype=dtype,
        align=parse_align(align) if align else None,
        roles=parse_roles(role or ()),
        accept_licences=tuple(accept_licence or ()),
        data_dir=data_dir,
        log_level=log_level,
    )
    if resume and overwrite:
        raise typer.BadParameter("--resume goes on with what --overwrite would delete; choose one")
    if url:
        _check_elsewhere(ctx)
    from trimtab.cli.batch_run import Order, fulfil

    with clear_errors():
        settings = None if url else load(flags, config)
        order = Order(
            input, output, _shard(shard), flags.align, concurrency, progress, settings, model, url, api_key, ray, ray_gpus
        )
        fulfil(order, resume=resume, overwrite=overwrite)


def _check_elsewhere(ctx: typer.Context) -> None:
    """Raise typer.BadParameter for a flag about a model in this process, where a server answers."""
    for name in HERE_ONLY:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"--{name.replace('_', '-')} is about a model in this process; the server at --url has its own"
            )


def _shard(text: str | None) -> "Shard":
    from trimtab.server.lines.shards import Shard

    try:
        return Shard.parse(text) if text else Shard()
    except ValueError as error:
        raise typer.BadParameter(f"--shard: {error}") from None
