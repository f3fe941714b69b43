"""`trimtab doctor`: whether this machine can serve, and what to do where it cannot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from trimtab.cli.checks import Check
from trimtab.cli.failure import clear_errors
from trimtab.cli.flags import ServeFlags

COLOURS = {"ok": typer.colors.GREEN, "note": typer.colors.BLUE, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def doctor(
    model: Annotated[str | None, typer.Argument(help="With --judge: the model that judges; default the default model.")] = None,
    judge: Annotated[
        bool, typer.Option("--judge", help="Measure how often a model is right when it judges answers, on labelled cases.")
    ] = False,
    engine: Annotated[
        Literal["auto", "vllm", "transformers", "upstream", "scripted"] | None,
        typer.Option(help="With --judge: what runs the model."),
    ] = None,
    upstream: Annotated[str | None, typer.Option(help="Also ask this OpenAI-compatible server what it can do.")] = None,
    upstream_api_key: Annotated[
        str | None, typer.Option(envvar="TRIMTAB_UPSTREAM_API_KEY", help="Key for that server.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="With --judge: where the report is kept for servers; default the user's data folder.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address whose port is tried.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port that should be free.")] = 8000,
) -> None:
    """Check versions, memory, disk, port, models and tokenizer; exit status 1 where something fails."""
    from trimtab.cli import checks, upstream_check

    if not judge and (model or engine or data_dir):
        raise typer.BadParameter("MODEL, --engine and --data-dir belong to --judge")
    found = [*checks.software(), *checks.machine(host, port), *checks.models()]
    if upstream:
        found += upstream_check.upstream(upstream, upstream_api_key)
    for check in found:
        show(check)
    if judge:
        found += _judged(ServeFlags(model, engine, upstream, upstream_api_key, data_dir=data_dir))
    print(f"\n{_summary(found)}")
    raise typer.Exit(1 if any(check.status == "fail" for check in found) else 0)


def _summary(found: Sequence[Check]) -> str:
    failed, warned = (sum(check.status == status for check in found) for status in ("fail", "warn"))
    if failed:
        return f"{failed} of {len(found)} checks failed"
    return f"All well but for {warned} warning{'s' if warned > 1 else ''}." if warned else "All well."


def _judged(flags: ServeFlags) -> list[Check]:
    """Measure the judge after the other checks are shown: it takes minutes."""
    from trimtab.cli.judge_check import judge

    with clear_errors():
        found = judge(flags)
    for check in found:
        show(check)
    return found


def show(check: Check) -> None:
    """Print what was found and, where that is bad, what to do."""
    typer.secho(f"{check.status:<5}", fg=COLOURS[check.status], nl=False)
    print(f" {check.name}: {check.detail}")
    if check.remedy:
        print(f"      -> {check.remedy}")
