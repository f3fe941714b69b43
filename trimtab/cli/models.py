"""`trimtab models list|pull|rm`: the catalogue and the cache of models."""

from typing import Annotated

import typer

from trimtab.cli.failure import RUNTIME, clear_errors, fail

app = typer.Typer(help="List, fetch and remove models.", no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """Show the models known by name, and every model in the cache."""
    from rich.console import Console
    from rich.table import Table

    from trimtab.artifacts.cache import cache_root, list_cached
    from trimtab.artifacts.catalogue import CATALOGUE, DEFAULT_MODEL

    cached = list_cached()
    sizes = {model.manifest.id: model.size for model in cached}
    table = Table("model", "kind", "licence", "download", "cached", "note", box=None, pad_edge=False)
    for entry in CATALOGUE:
        size = sizes.get(entry.alias)
        note = "default; " * (entry.alias == DEFAULT_MODEL) + entry.note
        table.add_row(entry.alias, entry.kind, entry.licence, mib(entry.download_bytes), mib(size) if size else "no", note)
    known = {entry.alias for entry in CATALOGUE}
    for model in cached:
        if model.manifest.id not in known:
            table.add_row(
                model.manifest.id,
                model.manifest.kind,
                model.manifest.licence or "-",
                "-",
                mib(model.size),
                model.manifest.source,
            )
    Console().print(table)
    print(f"\nCache: {cache_root()} (TRIMTAB_CACHE_DIR). Also served: a Hugging Face id, a directory, a .gguf file.")


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="Catalogue alias, Hugging Face id or .gguf file.")],
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-licence", help="Accept a gated licence, e.g. gemma; repeatable. [env var: TRIMTAB_ACCEPT_LICENCE]"
        ),
    ] = None,
) -> None:
    """Fetch a model, check it and convert it, so that a later start needs no network."""
    from trimtab.artifacts import resolve
    from trimtab.artifacts.progress import TerminalProgress

    with clear_errors(), TerminalProgress() as progress:
        model = resolve(name, accept_licences=frozenset(accept_licence or ()), progress=progress)
    print(f"{name} is ready in {model.path}")


@app.command("rm")
def remove(name: Annotated[str, typer.Argument(help="Model as `trimtab models list` shows it.")]) -> None:
    """Remove a model from the cache."""
    from trimtab.artifacts.cache import list_cached, remove_cached

    with clear_errors():
        freed = remove_cached(name)
    if not freed:
        cached = ", ".join(model.manifest.id for model in list_cached()) or "nothing"
        fail(f"{name!r} is not in the cache, which holds {cached}", RUNTIME)
    print(f"removed {name}, {mib(freed)} freed")


def mib(size: int) -> str:
    """A number of bytes in MiB."""
    return f"{size / 2**20:.0f} MiB"
