"""`trimtab chat`: a conversation in the terminal. Ctrl-C stops an answer; twice at the prompt, or Ctrl-D, leaves."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.failure import RUNTIME, clear_errors, fail
from trimtab.cli.spec import parse_align

if TYPE_CHECKING:
    from trimtab.cli.conversation import Talk

HELP = "/reset forgets the conversation, /exit (or Ctrl-D) leaves, Ctrl-C stops an answer."


def chat(
    model: Annotated[
        str | None, typer.Argument(help="Model to load, or its name at --url; default the first there is.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(envvar="TRIMTAB_URL", help="A running server; without it a private one starts.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="TRIMTAB_API_KEY", help="Key for the server.")] = None,
    align: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Strategy: a name, or a list or object as JSON or YAML.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System message at the head of the conversation.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show behind each answer what the alignment did.")] = False,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="Sampling temperature.")] = None,
    engine: Annotated[str | None, typer.Option(help="Engine of the private server; as for `serve`.")] = None,
) -> None:
    """Chat with a model in the terminal, streaming; /help shows the commands. Lines are read where input is no terminal."""
    spec = parse_align(align) if align else None
    if url and engine:
        raise typer.BadParameter("--engine chooses the engine of a private server; with --url the server has its own")
    with clear_errors():
        talk = _open(model, url, api_key, engine)
    talk.system, talk.spec, talk.trace = system, spec, trace
    talk.params = {k: v for k, v in (("max_tokens", max_tokens), ("temperature", temperature)) if v is not None}
    with talk.client:
        if sys.stdin.isatty():
            _converse(talk)
        else:
            _read_lines(talk)


def _open(model: str | None, url: str | None, api_key: str | None, engine: str | None) -> "Talk":
    """A conversation with a running server, or with a private one that starts now."""
    import openai

    from trimtab import OpenAI
    from trimtab.artifacts import DEFAULT_MODEL
    from trimtab.cli.conversation import Talk, base_url

    try:
        if url:
            client = OpenAI(base_url=base_url(url), api_key=api_key or "none", max_retries=0)
            return Talk(client, model or client.models.list().data[0].id)
        os.environ.pop("OPENAI_BASE_URL", None)  # without --url a conversation stays on this machine
        client = OpenAI(model=model or DEFAULT_MODEL, engine=engine)
        first = client.models.list().data[0].id
        return Talk(client, client.default_model or first)
    except openai.OpenAIError as error:
        fail(f"{url or 'the private server'}: {error}", RUNTIME)


def _converse(talk: "Talk") -> None:
    """Turns from a terminal until the user leaves."""
    print(f"{talk.model}. {HELP}")
    interrupted = False
    while True:
        try:
            line = input("> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            if interrupted:
                print()
                return
            interrupted = True
            print("\nCtrl-C again or Ctrl-D leaves.")
            continue
        interrupted = False
        if not _turn(talk, line):
            return


def _read_lines(talk: "Talk") -> None:
    """One turn a line until the input ends; exit status 1 where a turn failed."""
    for line in sys.stdin:
        if not _turn(talk, line):
            break
    if talk.failures:
        raise typer.Exit(RUNTIME)


def _turn(talk: "Talk", line: str) -> bool:
    """One line: a command or a message. False where the user leaves."""
    text = line.strip()
    match text.partition(" ")[0]:
        case "":
            pass
        case "/exit" | "/quit":
            return False
        case "/help":
            print(HELP)
        case "/reset":
            talk.reset()
            print("The conversation starts anew.")
        case command if command.startswith("/"):
            print(f"unknown command {command}; {HELP}")
        case _:
            talk.say(text)
    return True
