"""Corpora that come with the program: read-only, embedded at first use and kept for the next start."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from trimtab.retrieval.corpus import FILE, Corpus
from trimtab.retrieval.documents import Document
from trimtab.retrieval.encoding import EncoderSource
from trimtab.retrieval.receipts import CorpusInfo

DIRECTORY = ".built-in"
READY = "ready"
"""A file that says that a corpus is whole."""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A corpus that comes with the program."""

    documents: Callable[[], Sequence[Document]]
    """Reads them; called when they are first needed."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class BuiltIns(Mapping[str, BuiltIn]):
    """Built-in corpora by name, opened when they are asked for; any number of processes may share what one has embedded."""

    def __init__(self, directory: Path, encoders: EncoderSource, known: Mapping[str, BuiltIn]) -> None:
        self._directory = directory / DIRECTORY
        self._encoders = encoders
        self._known = known
        self._lock = threading.Lock()
        self._open: dict[str, Corpus] = {}

    def __getitem__(self, name: str) -> BuiltIn:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def open(self, name: str) -> Corpus:
        """A built-in corpus; KeyError where there is none."""
        with self._lock:
            if name not in self._open:
                self._open[name] = self._opened(name)
            return self._open[name]

    def infos(self) -> list[CorpusInfo]:
        """Every built-in corpus at a glance; none is embedded for it."""
        with self._lock:
            return [self._open[name].info() if name in self._open else self._info(name) for name in self._known]

    def _info(self, name: str) -> CorpusInfo:
        """What a corpus will say of itself, were each of its documents one passage."""
        size = len(self._known[name].documents())
        return CorpusInfo(name, self._encoders.default, None, size, size, 1, self._known[name].metadata, None, read_only=True)

    def close(self) -> None:
        """Closes those that are open."""
        with self._lock:
            for corpus in self._open.values():
                corpus.close()
            self._open.clear()

    def _opened(self, name: str) -> Corpus:
        """The stored corpus of exactly these documents and this encoder, made where it is not there."""
        documents = self._known[name].documents()
        place = self._directory / f"{name}-{self._digest(documents)}"
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            if not (place / READY).exists():
                self._make(name, documents, place)
        return Corpus(place, self._encoders, read_only=True)

    def _make(self, name: str, documents: Sequence[Document], place: Path) -> None:
        for left in place.glob(f"{FILE}*"):
            left.unlink()
        Corpus.create(place, name, self._encoders.default, self._known[name].metadata)
        corpus = Corpus(place, self._encoders)
        corpus.put(documents)
        corpus.close()
        (place / READY).touch()

    def _digest(self, documents: Sequence[Document]) -> str:
        content = [[document.id, document.text, dict(document.metadata)] for document in documents]
        told = json.dumps([self._encoders.default, content], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]
