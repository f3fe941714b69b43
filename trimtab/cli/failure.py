"""How a command ends when something is wrong: one line on standard error and an exit status."""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import typer

USAGE = 2
"""Exit status where the command line or the configuration makes no sense."""
RUNTIME = 1
"""Exit status where the command failed while it ran."""


def fail(message: str, status: int) -> NoReturn:
    """End the command with a message and an exit status."""
    typer.secho(f"Error: {message}", err=True, fg=typer.colors.RED)
    raise typer.Exit(status)


def warn(message: str) -> None:
    """Show a warning on standard error."""
    typer.secho(f"Warning: {message}", err=True, fg=typer.colors.YELLOW)


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turn the project's own errors into a message and an exit status; anything else is a bug and keeps its traceback."""
    from trimtab.artifacts.errors import ArtifactError, InvalidModel, LicenceNotAccepted, UnknownModel
    from trimtab.retrieval.errors import RetrievalError
    from trimtab.server.config_file import ConfigFileError
    from trimtab.server.errors import ServerError
    from trimtab.strategies.core.errors import ConfigError, StrategyError
    from trimtab.training.errors import ConfigInvalid, TrainingError

    try:
        yield
    except (ConfigFileError, ConfigError, ConfigInvalid, UnknownModel, InvalidModel, LicenceNotAccepted) as error:
        fail(str(error), USAGE)
    except (ArtifactError, RetrievalError, ServerError, StrategyError, TrainingError, OSError) as error:
        fail(str(error), RUNTIME)
