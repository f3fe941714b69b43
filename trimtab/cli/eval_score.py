"""`trimtab eval score`: a log scored again, or by more scorers; nothing is generated."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from trimtab.cli.failure import clear_errors
from trimtab.cli.flags import ServeFlags
from trimtab.cli.spec import parse_roles


def score(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an evaluation.")],
    scorers: Annotated[str, typer.Option(metavar="A,B", help="Scorers that are applied; those of the log stay beside them.")],
    model: Annotated[
        str | None, typer.Option(help="The model that answered, for scorers that ask it; default the log's.", metavar="MODEL")
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(envvar="TRIMTAB_ROLE", metavar="ROLE=SOURCE", help="Engine of a role (reward, judge); repeatable."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(envvar="TRIMTAB_CONFIG", metavar="FILE", help="Configuration (trimtab.yaml).")
    ] = None,
    engine: Annotated[
        Literal["auto", "vllm", "transformers", "upstream", "scripted"] | None,
        typer.Option(envvar="TRIMTAB_ENGINE", help="What runs the model; auto: vLLM where installed."),
    ] = None,
    accept_licence: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Accept a gated licence, e.g. gemma; repeatable.")
    ] = None,
    max_dropped: Annotated[
        float, typer.Option(min=0, max=1, help="Share that may be unscored before the command fails.")
    ] = 0.05,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave the report as it is.")] = False,
) -> None:
    """Score the answers of a log; a scorer that was used before replaces its own numbers."""
    from trimtab.cli.eval import names_of
    from trimtab.cli.eval_rescore import Rescoring, rescore
    from trimtab.cli.eval_run import evaluation_errors

    flags = ServeFlags(
        model=model,
        engine=engine,
        roles=parse_roles(role or ()),
        accept_licences=tuple(accept_licence or ()),
        log_level="warning",
    )
    with clear_errors(), evaluation_errors():
        rescore(Rescoring(folder, names_of(scorers) or (), flags, config, max_dropped, not no_report))
