"""`trimtab serve`: run a server in the foreground until SIGTERM or Ctrl-C."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.banner import Ready, exposure_warning, render
from trimtab.cli.failure import clear_errors, warn
from trimtab.cli.flags import ServeFlags, load
from trimtab.cli.model_options import MODEL, Dtype, Engine, MaxModelLen, UpstreamApiKey
from trimtab.cli.spec import parse_align, parse_roles

if TYPE_CHECKING:
    from trimtab.server.service import Service
    from trimtab.server.settings import Settings

LISTEN, ALIGN, OTHER = "Listening", "Alignment", "Other"


def env(name: str, text: str) -> str:
    """Help of a flag whose variable the configuration reads itself, so that it also holds without the command line."""
    return f"{text} \\[env var: TRIMTAB_{name}]"


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            envvar="TRIMTAB_MODEL",
            help="Alias, Hugging Face id, directory (a model, or a run of `train`) or .gguf file; default the embedded model.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(envvar="TRIMTAB_CONFIG", metavar="FILE", help="Configuration (trimtab.yaml).", rich_help_panel=OTHER),
    ] = None,
    engine: Engine = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            envvar="TRIMTAB_UPSTREAM",
            metavar="URL",
            help="Stand in front of this OpenAI-compatible server (URL with its /v1).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    upstream_api_key: UpstreamApiKey = None,
    served_model_name: Annotated[
        str | None,
        typer.Option(envvar="TRIMTAB_SERVED_MODEL_NAME", metavar="NAME", help="Name that clients use.", rich_help_panel=MODEL),
    ] = None,
    max_model_len: MaxModelLen = None,
    dtype: Dtype = None,
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=env("ACCEPT_LICENCE", "Accept a gated licence, e.g. gemma; repeatable (commas in the variable)."),
            rich_help_panel=MODEL,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help=env("HOST", "Address to bind; default 127.0.0.1."), rich_help_panel=LISTEN),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help=env("PORT", "Port; default 8000, 0 = any free one."), rich_help_panel=LISTEN),
    ] = None,
    uds: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help=env("UDS", "Unix socket in place of host and port."), rich_help_panel=LISTEN),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TRIMTAB_API_KEY",
            metavar="KEY",
            help="Ask for this key, which may do everything; repeatable. Keys that may do less: in the file.",
            rich_help_panel=LISTEN,
        ),
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help=env("ALIGN", "Default strategy: a name, or a list or object as JSON or YAML."),
            rich_help_panel=ALIGN,
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TRIMTAB_ROLE",
            metavar="ROLE=SOURCE",
            help="Engine of a role (judge, reward, aligner, embed); repeatable.",
            rich_help_panel=ALIGN,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help=env("DATA_DIR", "State; default the user's data folder."), rich_help_panel=OTHER),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(help=env("LOG_LEVEL", "Least severe level logged; default info."), rich_help_panel=OTHER),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--log-text", help=env("LOG_JSON", "Form of log lines."), rich_help_panel=OTHER),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resulting configuration and exit.", rich_help_panel=OTHER)
    ] = False,
) -> None:
    """Serve a model behind an OpenAI endpoint. Flag > environment > file > default."""
    flags = ServeFlags(
        model=model,
        engine=engine,
        upstream=upstream,
        upstream_api_key=upstream_api_key,
        served_model_name=served_model_name,
        max_model_len=max_model_len,
        dtype=dtype,
        host=host,
        port=port,
        uds=uds,
        api_keys=tuple(api_key or ()),
        align=parse_align(align) if align else None,
        roles=parse_roles(role or ()),
        accept_licences=tuple(accept_licence or ()),
        data_dir=data_dir,
        log_level=log_level,
        log_json=log_json,
    )
    with clear_errors():
        settings = load(flags, config)
        _check_strategies(settings)
        if warning := exposure_warning(settings):
            warn(warning)
        if print_config:
            print(as_yaml(settings), end="")
            return
        _run(settings)


def _check_strategies(settings: "Settings") -> None:
    """Raise ConfigError for a default strategy or pipeline that no engine could run, before anything is loaded."""
    from trimtab.strategies.config import parse_spec

    for name, spec in settings.pipelines.items():
        parse_spec(spec, pipelines=settings.pipelines, param=f"pipelines.{name}")
    for place, default in (("defaults.strategy", settings.defaults.strategy), *_model_defaults(settings)):
        if default is not None:
            parse_spec(default, pipelines=settings.pipelines, param=place)


def _model_defaults(settings: "Settings") -> list[tuple[str, Any]]:
    return [(f"models.{name}.strategy", model.strategy) for name, model in settings.models.items()]


def as_yaml(settings: "Settings") -> str:
    """The settings as a configuration file, secrets masked."""
    import yaml

    return str(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _run(settings: "Settings") -> None:
    """Serve until the end, with a progress bar while models are fetched and the banner once requests are answered."""
    if fd := os.environ.get("TRIMTAB_PARENT_FD"):
        from trimtab.server.client.child import exit_with_parent

        exit_with_parent(int(fd))
    kinds: set[str] = {model.engine.kind for model in settings.models.values()} or {"auto"}
    _warn_of_torchvision(kinds)
    prepare_threads(kinds)

    from trimtab.artifacts import TerminalProgress
    from trimtab.server.assembly import build
    from trimtab.server.run import serve as run

    def assemble() -> "Service":
        service = build(settings, progress=progress)
        progress.close()
        for model in service.registry.models.values():
            typer.echo(f"starting the {model.engine.kind} engine for {model.id}", err=True)
        return service

    def on_ready(url: str, service: "Service") -> None:
        model = next(iter(service.registry.models.values()))
        strategy = settings.defaults.strategy if model.strategy is None else model.strategy
        chats = model.engine.ports.messages is not None
        print(render(Ready(url, model.id, model.engine.kind, strategy, len(settings.keys), chats)), flush=True)

    with TerminalProgress() as progress:
        run(settings, on_ready=on_ready, build=assemble)


def _warn_of_torchvision(kinds: set[str]) -> None:
    """Name the command that mends a torchvision which would keep an engine of these kinds from loading."""
    from trimtab.cli.environment import TORCHVISION_REMEDY, torchvision_problem

    if kinds & {"auto", "transformers", "vllm"} and (problem := torchvision_problem()):
        warn(f"{problem}; mend it with: {TORCHVISION_REMEDY}")


def prepare_threads(kinds: set[str]) -> None:
    """Choose how threads wait, but not for vLLM, which sets up its own."""
    from importlib.util import find_spec

    from trimtab.cli.environment import let_threads_sleep

    if "transformers" in kinds or ("auto" in kinds and find_spec("vllm") is None):
        let_threads_sleep()
