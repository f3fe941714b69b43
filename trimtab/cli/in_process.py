"""A service that a command runs in its own process: what is said and set before, and the bar while models are fetched."""

import typer

from trimtab.artifacts import TerminalProgress
from trimtab.cli.environment import TORCHVISION_REMEDY, torchvision_problem
from trimtab.cli.failure import warn
from trimtab.cli.serve import prepare_threads
from trimtab.server import logs
from trimtab.server.assembly import build
from trimtab.server.service import Service
from trimtab.server.settings import Settings


def prepare(settings: Settings) -> None:
    """Say and set what has to be before an engine is made."""
    kinds: set[str] = {model.engine.kind for model in settings.models.values()} or {"auto"}
    if kinds & {"auto", "transformers", "vllm"} and (problem := torchvision_problem()):
        warn(f"{problem}; mend it with: {TORCHVISION_REMEDY}")
    prepare_threads(kinds)
    logs.configure(settings.http)


def built(settings: Settings) -> Service:
    """The service, with a progress bar while models are fetched."""
    with TerminalProgress() as progress:
        service = build(settings, progress=progress)
    for model in service.registry.models.values():
        typer.echo(f"starting the {model.engine.kind} engine for {model.id}", err=True)
    return service
