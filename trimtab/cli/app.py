"""The `trimtab` command: its subcommands and what they share. It imports nothing heavier than typer."""

import atexit
import os
import sys
from typing import Annotated

import typer

from trimtab.cli import batch, chat, check, corpus, data, doctor, models, serve, strategies, train
from trimtab.cli import eval as evaluation
from trimtab.version import VERSION

app = typer.Typer(
    name="trimtab",
    help="Inference-time alignment around any language model, behind an OpenAI endpoint.",
    epilog="Every flag of `serve` can also be an environment variable TRIMTAB_* (shown in its help); a flag wins.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"trimtab {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Inference-time alignment around any language model, behind an OpenAI endpoint."""


app.command("serve")(serve.serve)
app.command("chat")(chat.chat)
app.command("batch")(batch.batch)
app.command("train", context_settings={"auto_envvar_prefix": "TRIMTAB_TRAIN"})(train.train)
app.add_typer(corpus.app, name="corpus")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(evaluation.app, name="eval")
app.command("check")(check.check)
app.command("strategies")(strategies.strategies)
app.command("doctor")(doctor.doctor)


def main() -> int:
    """Run the command line. Exit status: 0 done, 1 it failed while it ran, 2 usage or configuration makes no sense."""
    atexit.register(_end_quietly)
    try:
        app()
    except KeyboardInterrupt:
        return 130
    return 0


def _end_quietly() -> None:
    """Registered first, so called last: what comes behind is a page of leak reports of the libraries below vLLM."""
    if "vllm" in sys.modules:
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
