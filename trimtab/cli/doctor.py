"""`trimtab doctor`: whether this machine can serve, and what to do where it cannot."""

from typing import Annotated

import typer

COLOURS = {"ok": typer.colors.GREEN, "note": typer.colors.BLUE, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def doctor(
    upstream: Annotated[str | None, typer.Option(help="Also ask this OpenAI-compatible server what it can do.")] = None,
    upstream_api_key: Annotated[
        str | None, typer.Option(envvar="TRIMTAB_UPSTREAM_API_KEY", help="Key for that server.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address whose port is tried.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port that should be free.")] = 8000,
) -> None:
    """Check versions, memory, disk, port, models and tokenizer; exit status 1 where something fails."""
    from trimtab.cli import checks, upstream_check

    found = [*checks.software(), *checks.machine(host, port), *checks.models()]
    if upstream:
        found += upstream_check.upstream(upstream, upstream_api_key)
    for check in found:
        typer.secho(f"{check.status:<5}", fg=COLOURS[check.status], nl=False)
        print(f" {check.name}: {check.detail}")
        if check.remedy:
            print(f"      -> {check.remedy}")
    failed = sum(check.status == "fail" for check in found)
    print(f"\n{failed} of {len(found)} checks failed" if failed else "\nAll well.")
    raise typer.Exit(1 if failed else 0)
