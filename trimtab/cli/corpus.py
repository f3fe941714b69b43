"""`trimtab corpus`: norms and demonstrations, in the data directory of this machine or, with --url, on a server."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.corpus_files import import_file
from trimtab.cli.failure import RUNTIME, clear_errors, fail

if TYPE_CHECKING:
    from trimtab.cli.remote_corpora import RemoteLibrary
    from trimtab.retrieval.documents import Document, Filter, Hit
    from trimtab.retrieval.library import Library
    from trimtab.retrieval.receipts import CorpusInfo

app = typer.Typer(help="Norms and demonstrations: make, fill, search and keep corpora.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the corpus.")]
Url = Annotated[str | None, typer.Option(envvar="TRIMTAB_URL", help="A running server; without it the data directory here.")]
Key = Annotated[str | None, typer.Option(envvar="TRIMTAB_API_KEY", help="Key for the server, with the scope corpus.")]
DataDir = Annotated[Path | None, typer.Option(envvar="TRIMTAB_DATA_DIR", help="Where state lives, without --url.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

TEXT_CHARS = 300
"""What is shown of a long text."""


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
    told = _json_object("--metadata", metadata)
    with opened(url, api_key, data_dir) as library:
        info = library.create(name, encoder=encoder, metadata=told).info()
    print(f"made {info.name}, embedded by {info.encoder}")


@app.command("add")
def add(
    name: Name,
    files: Annotated[list[Path], typer.Argument(help="Files: JSON lines, CSV, TSV or text; - reads JSON lines from the input.")],
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="jsonl, csv, tsv or text; default what the name says.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Metadata of documents that do not have it, e.g. trust=reviewed; repeatable."),
    ] = None,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Add documents, or replace those of the same id. Lines that are no documents are told and left out (exit status 1)."""
    metadata = dict(_pair(text) for text in given or ())
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
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most documents.")] = 100,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """List the corpora, or the documents of one."""
    with opened(url, api_key, data_dir) as library:
        if name is None:
            _show_corpora(library.names(), as_json)
            return
        page = library.open(name).list(after=after, limit=limit)
    for document in page.documents:
        print(json.dumps(_plain(document), ensure_ascii=False) if as_json else f"{document.id}  {_short(document.text)}")
    if page.next is not None and not as_json:
        print(f"There are more: --after {page.next}")


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
        told = _told(corpus.info()) if document is None else _plain(corpus.get(document))
    print(json.dumps(told, indent=2, ensure_ascii=False))


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
        print(json.dumps(_found(hit), ensure_ascii=False) if as_json else _shown(hit))
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


@contextlib.contextmanager
def opened(url: str | None, api_key: str | None, data_dir: Path | None) -> "Iterator[Library | RemoteLibrary]":
    """The corpora of a server, or of the data directory; what goes wrong becomes a message and an exit status."""
    from trimtab.retrieval.errors import LibraryLocked

    with clear_errors():
        try:
            with contextlib.closing(_remote(url, api_key) if url else _local(data_dir)) as library:
                yield library
        except LibraryLocked as error:
            fail(f"{error}. Where a server has them, go through it: --url http://127.0.0.1:8000", RUNTIME)


def _remote(url: str, api_key: str | None) -> "RemoteLibrary":
    from trimtab.cli.remote_corpora import RemoteLibrary

    return RemoteLibrary(url, api_key)


def _local(data_dir: Path | None) -> "Library":
    from trimtab.artifacts.progress import TerminalProgress
    from trimtab.server.corpora import open_library
    from trimtab.server.encoders import Encoders, served_encoders
    from trimtab.server.settings import load_settings

    settings = load_settings(overrides={"data_dir": data_dir} if data_dir else {})
    progress = TerminalProgress()
    return open_library(settings.data_root, Encoders.of(served_encoders(settings, progress), progress))


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


def _show_corpora(infos: "Sequence[CorpusInfo]", as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    if as_json:
        for info in infos:
            print(json.dumps(_told(info), ensure_ascii=False))
        return
    table = Table("corpus", "documents", "version", "encoder", "made", "note", box=None, pad_edge=False)
    for info in infos:
        note = "built in" if info.read_only else ""
        table.add_row(info.name, str(info.documents), str(info.version), info.encoder, info.created or "-", note)
    Console().print(table)


def _told(info: "CorpusInfo") -> dict[str, Any]:
    """A corpus as JSON."""
    names = ("name", "encoder", "documents", "chunks", "version", "created", "read_only")
    return {**{name: getattr(info, name) for name in names}, "metadata": dict(info.metadata)}


def _plain(document: "Document") -> dict[str, Any]:
    """A document as a line that `add` reads again."""
    return {"id": document.id, "text": document.text, "metadata": dict(document.metadata)}


def _found(hit: "Hit") -> dict[str, Any]:
    return {"score": hit.score, "passage": hit.text, "chunk": hit.chunk, "document": _plain(hit.document)}


def _shown(hit: "Hit") -> str:
    """A hit for people: score, id, passage, and the answer of a demonstration."""
    lines = [f"{hit.score:.3f}  {hit.document.id}", f"       {_short(hit.text)}"]
    answer = hit.document.metadata.get("answer")
    return "\n".join([*lines, *([f"       -> {_short(str(answer))}"] if answer else [])])


def _short(text: str) -> str:
    """A text on one line of bounded length; what could steer a terminal is shown, not sent."""
    line = "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
    return line if len(line) <= TEXT_CHARS else f"{line[: TEXT_CHARS - 1]}…"
