"""The corpora of a server: the library, used off the event loop, and its errors in the server's own terms.

Strategies search it (`trimtab.strategies.core.stores.Corpora`), and the routes of `/v1/corpora` work on it. The library is
made at the first use, so that a server whose requests need no corpora pays nothing for them.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trimtab.artifacts.errors import ArtifactError
from trimtab.retrieval.documents import Filter, Hit
from trimtab.retrieval.errors import (
    CorpusClosed,
    CorpusExists,
    EncoderMismatch,
    InvalidDocument,
    InvalidName,
    LibraryLocked,
    ReadOnlyCorpus,
    RetrievalError,
    SnapshotExists,
    UnknownCorpus,
    UnknownDocument,
    UnknownSnapshot,
)
from trimtab.server.encoders import Encoders, OffLoopEncoder
from trimtab.server.errors import Conflict, Forbidden, NotFound
from trimtab.strategies.core.errors import CorpusNotFound, EngineUnavailable, RequestRefused, StrategyError
from trimtab.strategies.prompts.built_in import BUILT_IN, BuiltInCorpus

if TYPE_CHECKING:
    from trimtab.retrieval.built_in import BuiltIn
    from trimtab.retrieval.library import Library

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

READERS = 16
WRITERS = 2
"""Threads. Writers have their own, so that an import never holds up a search."""
QUERY_CHARS = 100_000
"""What is read of a query; an encoder's window is far shorter."""


def open_library(data: Path, encoders: Encoders) -> "Library":
    """The corpora below a data directory, the built-in ones among them."""
    from trimtab.retrieval.library import Library

    return Library(data / "corpora", encoders, {name: _built_in(corpus) for name, corpus in BUILT_IN.items()})


def _built_in(corpus: BuiltInCorpus) -> "BuiltIn":
    from trimtab.retrieval.built_in import BuiltIn

    told = {"summary": corpus.summary, "version": corpus.version, "sha256": corpus.sha256}
    return BuiltIn(lambda: corpus.documents, told)


class ServedCorpora:
    """The library of a server."""

    def __init__(self, data: Path, encoders: Encoders) -> None:
        """`data`: the server's data directory; nothing is read or made there before the first use."""
        self._data = data
        self._making = threading.Lock()
        self._library: Library | None = None
        self._readers = ThreadPoolExecutor(READERS, "read corpora")
        self._writers = ThreadPoolExecutor(WRITERS, "write corpora")
        self.encoders = encoders
        self.encoder = OffLoopEncoder(encoders.get(encoders.default), self._readers)
        """The default encoder, for strategies."""

    async def search(self, corpus: str, query: str, k: int, *, where: Filter | None = None) -> tuple[Hit, ...]:
        """At most `k` passages, most similar first, ties in a fixed order; () where the corpus holds none that qualifies.

        Raises CorpusNotFound, EngineUnavailable.
        """
        return await self.read(lambda library: library.open(corpus).search(query[:QUERY_CHARS], k, where=where))

    async def size(self, corpus: str) -> int:
        """Number of documents. Raises CorpusNotFound, EngineUnavailable."""
        return await self.read(lambda library: library.open(corpus).info().documents)

    async def warm(self, names: Sequence[str]) -> None:
        """Open corpora and load their encoders, so that the first request need not wait; what is amiss is logged.

        A corpus may be made, and an encoder be fetched, while the server runs: neither holds up its start.
        """
        for name in names:
            try:
                await self.search(name, "What is right?", 1)
            except StrategyError as error:
                logger.warning("a configured pipeline reads the corpus %r: %s", name, error)

    async def read(self, work: "Callable[[Library], Result]", *, param: str = "alignment.strategy") -> Result:
        """The result of work that changes nothing; `param` names the field to blame for an unknown corpus."""
        return await self._run(self._readers, work, param)

    async def write(self, work: "Callable[[Library], Result]", *, named: str = "name") -> Result:
        """The result of work that changes something; it is done to its end, also where its caller has gone.

        named: the field that gives what is made its name.
        """
        return await self._run(self._writers, work, "name", named)

    async def close(self) -> None:
        """Wait for work that has begun, then close the library; twice is once."""
        await asyncio.to_thread(self._close)

    async def _run(self, threads: Executor, work: "Callable[[Library], Result]", param: str, named: str = "name") -> Result:
        with translated(param, named):
            return await asyncio.get_running_loop().run_in_executor(threads, lambda: work(self._opened()))

    def _opened(self) -> "Library":
        with self._making:
            if self._library is None:
                self._library = open_library(self._data, self.encoders)
            return self._library

    def _close(self) -> None:
        for threads in (self._readers, self._writers):
            threads.shutdown(cancel_futures=True)
        with self._making:
            if self._library is not None:
                self._library.close()


@contextmanager
def translated(param: str, named: str) -> Iterator[None]:
    """Turns the library's errors into those that have a status.

    param: the field that names the corpus. named: the field that names what is to be made.
    """
    try:
        yield
    except (UnknownCorpus, CorpusClosed) as error:
        raise CorpusNotFound(str(error), param=param) from error
    except InvalidName as error:
        raise RequestRefused(str(error), param=named) from error
    except RetrievalError as error:
        raise _refusal(error) from error
    except ArtifactError as error:
        raise EngineUnavailable(f"the encoder cannot be loaded: {error}", code="corpora_unavailable") from error
    except OSError as error:
        raise EngineUnavailable(f"the corpora cannot be read or written: {error}", code="corpora_unavailable") from error


def _refusal(error: RetrievalError) -> Exception:
    """Who is to blame, and for what."""
    match error:
        case UnknownDocument():
            return NotFound(str(error), param="id", code="document_not_found")
        case UnknownSnapshot():
            return NotFound(str(error), param="label", code="snapshot_not_found")
        case InvalidDocument():
            return RequestRefused(str(error), param=".".join(("documents", str(error.index), *_path(error.field))))
        case CorpusExists():
            return Conflict(str(error), param="name", code="corpus_exists")
        case SnapshotExists():
            return Conflict(str(error), param="label", code="snapshot_exists")
        case ReadOnlyCorpus():
            return Forbidden(str(error), param="name", code="corpus_read_only")
        case EncoderMismatch():
            return RequestRefused(str(error), code="encoder_mismatch")
        case LibraryLocked():
            return EngineUnavailable(str(error), code="corpora_locked")
        case _:
            return EngineUnavailable(str(error), code="corpora_unavailable")


def _path(field: str) -> tuple[str, ...]:
    """Where a field stands in a document on the wire."""
    if field in {"id", "text", "metadata"}:
        return (field,)
    return ("metadata", field) if field else ()
