"""`trimtab corpus`: norms and demonstrations, in the data directory of this machine or, with --url, on a server."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.corpus_files import await_input, import_file
from trimtab.cli.corpus_library import documents_of, opened
from trimtab.cli.corpus_text import found, plain, short, show_corpora, shown, told
from trimtab.cli.failure import RUNTIME, fail

if TYPE_CHECKING:
    from trimtab.retrieval.documents import Filter

app = typer.Typer(help="Norms and demonstrations: make, fill, search and keep corpora.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the corpus.")]
Url = Annotated[str | None, typer.Option(envvar="TRIMTAB_URL", help="A running server; without it the data directory here.")]
Key = Annotated[str | None, typer.Option(envvar="TRIMTAB_API_KEY", help="Key for the server, with the scope corpus.")]
DataDir = Annotated[Path | None, typer.Option(envvar="TRIMTAB_DATA_DIR", help="Where state lives, without --url.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@app.command("create")
def create(
    name: Name,
    encoder: Annotated[str | None, typer.Option(help="Sentence encoder: an alias, a directory or a hub id.")] = None,
    metadata: Annotated[str, typer.Option(metavar="JSON", help="Anything worth keeping with it, as a JSON object.")] = "{}",
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Make a new, empty corpus."""
    given = _json_object("--metadata", metadata)
    with opened(url, api_key, data_dir) as library:
        info = library.create(name, encoder=encoder, metadata=given).info()
    print(f"made {info.name}, embedded by {info.encoder}")


@app.command("add")
def add(
    name: Name,
    files: Annotated[
        list[Path], typer.Argument(help="Files: JSON lines, CSV, TSV or text; - reads JSON lines from the input.")
    ],
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="jsonl, csv, tsv or text; default what the name says.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Metadata of documents that do not have it, e.g. trust=reviewed; repeatable."
        ),
    ] = None,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Add documents, or replace those of the same id. Lines that are no documents are told and left out (exit status 1)."""
    metadata = dict(_pair(text) for text in given or ())
    if Path("-") in files:
        await_input()  # who writes it may read the same corpora first, and one process at a time has them
    with opened(url, api_key, data_dir) as library:
        corpus = library.open(name)
        corpus.info()  # before a file is read
        faults = sum(import_file(corpus, path, form, metadata) for path in files)
    if faults:
        raise typer.Exit(RUNTIME)


@app.command("list")
def list_corpora(
    name: Annotated[str | None, typer.Argument(help="A corpus, to list its documents.")] = None,
    after: Annotated[str | None, typer.Option(help="Begin behind the document of this id.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most documents; default 100, with --json all.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """List the corpora, or the documents of one."""
    with opened(url, api_key, data_dir) as library:
        if name is None:
            show_corpora(library.names(), as_json)
            return
        wanted = limit or (None if as_json else 100)
        documents, following = documents_of(library.open(name), after, wanted)
    for document in documents:
        print(json.dumps(plain(document), ensure_ascii=False) if as_json else f"{short(document.id)}  {short(document.text)}")
    if following is not None:
        typer.echo(f"There are more: --after {following}", err=True)


@app.command("show")
def show(
    name: Name,
    document: Annotated[str | None, typer.Argument(help="Id of a document.")] = None,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Show a corpus, or one of its documents, whole, as JSON."""
    with opened(url, api_key, data_dir) as library:
        corpus = library.open(name)
        shown_whole = told(corpus.info()) if document is None else plain(corpus.get(document))
    print(json.dumps(shown_whole, indent=2, ensure_ascii=False))


@app.command("search")
def search(
    name: Name,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Most documents.")] = 5,
    jurisdiction: Annotated[
        list[str] | None, typer.Option(help="Rules of this place and rules of no place; repeatable.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Documents with this tag; repeatable, all must be there.")] = None,
    valid_on: Annotated[
        str | None, typer.Option(metavar="DAY", help="Documents that hold on this day, e.g. 2026-01-31.")
    ] = None,
    min_trust: Annotated[str, typer.Option(help="Least trust: untrusted, reviewed or trusted.")] = "untrusted",
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Show the documents most similar to a query, with their scores."""
    where = _filter(jurisdiction=jurisdiction or (), tags=tag or (), valid_on=valid_on, min_trust=min_trust)
    with opened(url, api_key, data_dir) as library:
        hits = library.open(name).search(query, k, where=where)
    for hit in hits:
        print(json.dumps(found(hit), ensure_ascii=False) if as_json else shown(hit))
    if not hits and not as_json:
        print("nothing found")


@app.command("rm")
def remove(
    name: Name,
    documents: Annotated[list[str] | None, typer.Argument(help="Ids of documents; without any, the corpus is deleted.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete a whole corpus without asking.")] = False,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Remove documents, or delete a corpus with all that it holds."""
    with opened(url, api_key, data_dir) as library:
        if documents:
            corpus = library.open(name)
            for document in documents:
                if not corpus.remove([document]):
                    fail(f"corpus {name!r} holds no document {document!r}", RUNTIME)
                print(f"removed {document}")
            return
        info = library.open(name).info()
        if not yes:
            typer.confirm(f"Delete {name} with its {info.documents} documents and its snapshots?", abort=True)
        library.delete(name)
        print(f"deleted {name}")


@app.command("snapshot")
def snapshot(
    name: Name,
    label: Annotated[str | None, typer.Argument(help="What to call the present state; without it, list what is kept.")] = None,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Keep the present state of a corpus under a label, or list the states that are kept."""
    with opened(url, api_key, data_dir) as library:
        corpus = library.open(name)
        kept = corpus.snapshots() if label is None else (corpus.snapshot(label),)
    for one in kept:
        print(f"{one.label}  {one.documents} documents, version {one.version}, {one.created}")


@app.command("restore")
def restore(
    name: Name,
    label: Annotated[str, typer.Argument(help="A state that was kept.")],
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Bring a state back, as a new version."""
    with opened(url, api_key, data_dir) as library:
        info = library.open(name).restore(label)
    print(f"{name} is as it was at {label}: {info.documents} documents, now version {info.version}")


def _pair(text: str) -> tuple[str, Any]:
    """Key and value of `--set`; a value that is JSON is read as that."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise typer.BadParameter(f"--set must be KEY=VALUE, not {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _json_object(flag: str, text: str) -> dict[str, Any]:
    """The JSON object of a flag."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{flag} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{flag} must be a JSON object, not {text!r}")
    return value


def _filter(**members: Any) -> "Filter":
    """The filter of the flags."""
    from pydantic import ValidationError

    from trimtab.retrieval.documents import Filter

    try:
        return Filter.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise typer.BadParameter(f"{flag}: {first['msg']} (given {first['input']!r})") from None
