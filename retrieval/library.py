"""All corpora of one directory, by name, the built-in ones beside them.

A corpus is a subdirectory. One process at a time may have the directory's own corpora open; built-in ones never change and are
shared by any number. Every method blocks and may be called from several threads.
"""

import os
import shutil
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trimtab.retrieval.built_in import BuiltIn, BuiltIns
from trimtab.retrieval.checked import check_metadata
from trimtab.retrieval.corpus import FILE, Corpus
from trimtab.retrieval.encoding import EncoderSource
from trimtab.retrieval.errors import CorpusExists, LibraryLocked, ReadOnlyCorpus, UnknownCorpus
from trimtab.retrieval.naming import check_name
from trimtab.retrieval.receipts import CorpusInfo

LOCK = ".lock"
PASSING = ".passing-"
"""Begins the names of directories that are being made or deleted; what a killed process left of them is swept away."""
NONE: Mapping[str, BuiltIn] = {}


class Library:
    """A directory of corpora; nothing is read or locked before it is asked for something."""

    def __init__(self, directory: Path, encoders: EncoderSource, built_in: Mapping[str, BuiltIn] = NONE) -> None:
        self._directory = directory
        self._encoders = encoders
        self._built_in = BuiltIns(directory, encoders, built_in)
        self._lock = threading.RLock()
        self._claim: FileLock | None = None
        self._open: dict[str, Corpus] = {}

    def names(self) -> list[CorpusInfo]:
        """Every corpus at a glance, by name."""
        with self._lock:
            own = [self.open(name).info() for name in self._own()]
        return sorted([*own, *self._built_in.infos()], key=lambda info: info.name)

    def create(self, name: str, *, encoder: str | None = None, metadata: Mapping[str, Any] | None = None) -> Corpus:
        """A new, empty corpus. Raises InvalidName, CorpusExists, LibraryLocked, InvalidDocument (of the metadata).

        encoder: its name; None = the default one. What the source of encoders raises for a name it does not know is passed on.
        """
        check_name("corpus", name)
        check_metadata(metadata or {})
        chosen = encoder or self._encoders.default
        self._encoders.get(chosen)
        with self._lock:
            if name in self._built_in or name in self._own():
                raise CorpusExists(name)
            making = self._directory / f"{PASSING}{uuid.uuid4().hex}"
            making.mkdir()
            Corpus.create(making, name, chosen, metadata or {})
            making.rename(self._directory / name)
            _sync(self._directory)
            return self.open(name)

    def open(self, name: str) -> Corpus:
        """A corpus by name. Raises UnknownCorpus, LibraryLocked, StoreError."""
        if name in self._built_in:
            return self._built_in.open(name)
        with self._lock:
            if name not in self._open:
                known = self._own()
                if name not in known:
                    raise UnknownCorpus(name, [*known, *self._built_in])
                self._open[name] = Corpus(self._directory / name, self._encoders)
            return self._open[name]

    def delete(self, name: str) -> None:
        """Deletes a corpus and its snapshots. Raises UnknownCorpus, ReadOnlyCorpus."""
        if name in self._built_in:
            raise ReadOnlyCorpus(name)
        with self._lock:
            self.open(name).close()
            del self._open[name]
            going = self._directory / f"{PASSING}{uuid.uuid4().hex}"
            (self._directory / name).rename(going)
            _sync(self._directory)
        shutil.rmtree(going)

    def close(self) -> None:
        """Closes every corpus and lets another process have the directory; the library may be used again."""
        with self._lock:
            for corpus in self._open.values():
                corpus.close()
            self._open.clear()
            self._built_in.close()
            if self._claim:
                self._claim.release()
                self._claim = None

    def _own(self) -> list[str]:
        """Names of the directory's own corpora."""
        self._claim_directory()
        return sorted(path.parent.name for path in self._directory.glob(f"*/{FILE}") if not path.parent.name.startswith("."))

    def _claim_directory(self) -> None:
        """Keeps other processes out, and sweeps away what a killed one has left half-made."""
        if self._claim:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        claim = FileLock(self._directory / LOCK, timeout=0, thread_local=False)
        try:
            claim.acquire()
        except Timeout:
            raise LibraryLocked(f"another process has the corpora in {self._directory} open; only one at a time may") from None
        self._claim = claim
        for left in self._directory.glob(f"{PASSING}*"):
            shutil.rmtree(left)


def _sync(directory: Path) -> None:
    """Makes a rename in a directory last, where the platform can."""
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
