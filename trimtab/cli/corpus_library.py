"""Where `trimtab corpus` finds corpora: in the data directory of this machine, or on a server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.cli.failure import RUNTIME, clear_errors, fail

if TYPE_CHECKING:
    from trimtab.cli.remote_corpora import RemoteCorpus, RemoteLibrary
    from trimtab.retrieval.corpus import Corpus
    from trimtab.retrieval.documents import Document
    from trimtab.retrieval.library import Library

PAGE = 1000
"""Documents that are read at once."""


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


def documents_of(corpus: "Corpus | RemoteCorpus", after: str | None, limit: int | None) -> "tuple[list[Document], str | None]":
    """Documents by id, and the id behind which there are more; `limit` None = all."""
    found: list[Document] = []
    while limit is None or len(found) < limit:
        page = corpus.list(after=after, limit=PAGE if limit is None else min(PAGE, limit - len(found)))
        found += page.documents
        after = page.next
        if after is None:
            break
    return found, after
